"""Use of each simulated test in reports, by its name in the calibration table."""

from __future__ import annotations

PRIMARY, SUPPORT, LIMIT, NOT_USED = "primary", "support", "limit", "not used"
USED = (PRIMARY, SUPPORT)
ROLES = {
    PRIMARY: (
        "seed permutation, exact",
        "Welch t on seed means",
        "TOST, margin 0.05",
        "any of 7 suites, Holm",
        "mean over 7 suites, permutation",
        "Wilson, design effect",
        "permutation of log-rank scores",
        "permutation of restricted times",
        "permutation of the faults' effects",
        "t interval of a fault's effect over seeds",
        "lagged Spearman of changes, circular shifts",
        "permutation, with Welch where SDs differ",
        "sign flips of seed pairs",
        "main effect, permutation within cells",
        "main effect, sign flips of seeds over cells",
        "permutation of levels, nested",
        "sign flips of levels, crossed",
        "t of two crossed random factors",
        "t of a nested and a crossed random factor",
        "adjusted difference, permutation",
        "adjusted difference of branched pairs, sign flips",
        "permutation, given learns",
        "permutation, given a placebo",
        "permutation, given a planted effect",
    ),
    SUPPORT: (
        "t interval of one arm",
        "two-way cluster, t",
        "two-way percentile bootstrap",
        "IQM, t of jackknifed seeds",
        "P(improvement), t of jackknifed seeds",
        "McNemar, exact",
        "paired questions, z",
        "Kaplan–Meier band, clustered by question",
        "GEE logit of fault × arm, by run",
        "OLS with interaction, by run",
        "GEE logit on hops, by question",
        "interaction of two cells, t",
        "interaction of two cells, sign flips",
        "t over clusters",
        "seeds' own SD, χ² less coin flips",
    ),
    LIMIT: (
        "permutation, with Welch where SDs differ; runs collapse",
        "sign flips of seed pairs; runs collapse",
        "permutation, given learns, met by half of the studies",
        "permutation, given a planted effect, found by half of the studies",
    ),
}
"""Tests used in reports, by their role; LIMIT: in designs in which they do not hold. All others are in the table for
comparison."""


def role_of(test: str) -> str:
    return next((role for role, names in ROLES.items() if test in names), NOT_USED)
