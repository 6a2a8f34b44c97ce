"""Caveats of a contrast whose arms differ in spread or shape, as sentences after its verdict."""

from __future__ import annotations

from analysis.compare import Comparison, format_p
from analysis.outcome import Outcome
from analysis.stats.unequal_spread import OUTLYING

COLLAPSE_TYPE1 = 0.125
"""Largest type-I error of the exact test for equal means in reports/calibration, where a tenth of one arm's runs
collapse and mostly none of a study's few runs shows it."""
COLLAPSE_LIMIT = (
    "A claimed difference is one of distributions: of equal means the test finds one in up to "
    f"{COLLAPSE_TYPE1:.1%} of studies where a tenth of one arm's runs collapse, which so few runs mostly do not show "
    "(role limit in reports/calibration)."
)
"""Limit of every claimed difference, for a report's verdict."""


def spread_caveat(row: Comparison, outcome: Outcome, alpha: float) -> str:
    """Sentences, each with a space before it, on a contrast that its exact test shows; "" for any other.

    Where the arms' SDs differ: Welch's test decides too. Where runs lie apart from their arm: the difference is one of
    distributions, as no test of a few seeds holds its level for means when some runs of one arm collapse.
    """
    if row.test.p is None or row.test.p > alpha:
        return ""
    found, c = row.spread, row.contrast
    text = ""
    if found.welch_p is not None:
        sds = f"{outcome.amount(found.sd_a, signed=False)} and {outcome.amount(found.sd_b, signed=False)}"
        shown = row.p_adjusted is not None and row.p_adjusted <= alpha and row.p_claim is not None
        agrees = (row.p_claim if shown and row.p_claim is not None else found.welch_p) <= alpha
        corrected = format_p(row.p_claim) if shown and row.p_adjusted != row.test.p else ""
        text += (
            f" SDs between seeds differ ({sds}), where the exact test is no test of means: Welch's "
            f"{'agrees' if agrees else 'does not agree'} (p {format_p(found.welch_p)}"
            f"{f'; {corrected} corrected with it' if corrected else ''})."
        )
    if found.mixed:
        parts = [
            f"{apart} of {n} runs of {arm}"
            for apart, n, arm in zip(
                (found.apart_a, found.apart_b), row.n_seeds, (c.treatment, c.baseline), strict=True
            )
            if apart
        ]
        text += (
            f" {' and '.join(parts)} lie apart from their arm (beyond {OUTLYING:g} robust SDs): the distributions "
            "differ, which with so few seeds is no evidence on means (role limit in reports/calibration)."
        )
    return text
