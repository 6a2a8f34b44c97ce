"""Simulated studies that `analysis.calibration` repeats: each is drawn once and put to every test of its kind.

A study maps a random stream to outcomes by the test's name. Names say what a report uses them for in ROLES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.calibration import simulate
from analysis.calibration.simulate import World
from analysis.stats.aggregate import (
    bootstrap_seeds,
    iqm,
    jackknife_seeds,
    probability_of_improvement,
    seed_question_bootstrap,
)
from analysis.stats.cluster import paired_questions, two_way_cluster
from analysis.stats.multiplicity import holm, tost
from analysis.stats.permutation import difference_interval, mean_interval, permutation_interval, seed_permutation
from analysis.stats.proportions import clustered_wilson, mcnemar, paired_table, two_proportion_z, wilson
from analysis.stats.regression import cluster_ols, gee_logit
from analysis.stats.series import lagged_spearman
from analysis.stats.survival import Survival, kaplan_meier, logrank, logrank_permutation, restricted_mean_difference
from analysis.stats.types import Estimate, Interval, Test

ALPHA = 0.05
MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test on one simulated study: whether it rejected, whether its interval held the truth (None: has none)."""

    rejected: bool | None
    covered: bool | None = None


Study = Callable[[np.random.Generator], dict[str, Outcome]]

PRIMARY, SUPPORT, SHOWN = "primary", "support", "not used"
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
    ),
}
"""Tests that a report uses, by the part they play. All others are in the table to show what they would cost."""


def role_of(test: str) -> str:
    return next((role for role, names in ROLES.items() if test in names), SHOWN)


def holds(estimate: Estimate, truth: float) -> bool | None:
    """Whether the interval contains the truth; None where there is no interval."""
    return _inside(estimate.interval, truth) if estimate.interval is not None else None


def _inside(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


def _both(estimate: Estimate, test: Test, truth: float) -> Outcome:
    return Outcome(test.rejects(ALPHA), holds(estimate, truth))


def contrast(world: World) -> Study:
    """Two arms on one suite, every route to a p-value and an interval."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b, (truth, _) = simulate.arms(world, rng)
        x, y = a.mean(axis=1), b.mean(axis=1)
        welch = difference_interval(x, y)
        out = {
            "seed permutation, exact": _both(permutation_interval(x, y), seed_permutation(x, y), world.effect),
            "seed permutation, paired by seed": _both(
                permutation_interval(x, y, True), seed_permutation(x, y, paired=True), world.effect
            ),
            "Welch t on seed means": Outcome(holds(welch, 0.0) is False, holds(welch, world.effect)),
            "t interval of one arm": Outcome(None, holds(mean_interval(x), truth)),
            "question-paired, seeds taken as fixed": _both(
                *paired_questions(a.mean(axis=0), b.mean(axis=0)), world.effect
            ),
            "McNemar of one checkpoint pair": Outcome(mcnemar(paired_table(a[0], b[0])).rejects(ALPHA)),
            "two-proportion z": Outcome(two_proportion_z(a.sum(), a.size, b.sum(), b.size).rejects(ALPHA)),
        }
        for law in ("t", "z"):
            out[f"two-way cluster, {law}"] = _both(*two_way_cluster(a, b, distribution=law), world.effect)
        boot = seed_question_bootstrap(a, b, draws=400, seed=int(rng.integers(2**31)))
        out["two-way percentile bootstrap"] = Outcome(holds(boot, 0.0) is False, holds(boot, world.effect))
        return out

    return study


def checkpoints(world: World) -> Study:
    """Two checkpoints, no seed effect: the claim that question-level tests are made for."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b, _ = simulate.arms(world, rng)
        return {
            "McNemar, exact": Outcome(mcnemar(paired_table(a[0], b[0])).rejects(ALPHA)),
            "paired questions, z": _both(*paired_questions(a[0], b[0]), world.effect),
        }

    return study


def family(world: World, n: int) -> Study:
    """n suites that share seed effects: any rejection with and without Holm (family-wise error), and aggregates."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b, many = simulate.suites(world, n, rng)
        p = [seed_permutation(a[:, i], b[:, i]).p for i in range(n)]
        raw, adjusted = (min(v for v in values if v is not None) for values in (p, holm(p)))
        out = {
            f"any of {n} suites, Holm": Outcome(adjusted <= ALPHA),
            f"any of {n} suites, uncorrected": Outcome(raw <= ALPHA),
            f"mean over {n} suites, permutation": Outcome(
                seed_permutation(a.mean(axis=1), b.mean(axis=1)).rejects(ALPHA)
            ),
        }
        out["IQM, t of jackknifed seeds"] = Outcome(None, holds(jackknife_seeds([a], iqm), iqm(many[0])))
        out["IQM, percentile bootstrap of seeds"] = Outcome(
            None, holds(bootstrap_seeds([a], iqm, draws=300, seed=int(rng.integers(2**31))), iqm(many[0]))
        )
        # Three arms, suites as blocks. The suites of a run share its seed effect, so they are no independent blocks.
        third = many[0][: world.seeds]
        friedman = stats.friedmanchisquare(*(m.mean(axis=0) for m in (a, b, third)))
        out[f"Friedman over {n} suites"] = Outcome(bool(friedman.pvalue <= ALPHA))
        if not world.effect:
            better = bootstrap_seeds([a, b], probability_of_improvement, draws=300, seed=int(rng.integers(2**31)))
            jack = jackknife_seeds([a, b], probability_of_improvement)
            out["P(improvement), t of jackknifed seeds"] = Outcome(holds(jack, 0.5) is False, holds(jack, 0.5))
            out["P(improvement), percentile bootstrap of seeds"] = Outcome(
                holds(better, 0.5) is False, holds(better, 0.5)
            )
        return out

    return study


def equivalence(world: World) -> Study:
    """TOST: its null is a difference of exactly the margin, its power is against no difference."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        a, b, _ = simulate.arms(world, rng)
        return {f"TOST, margin {MARGIN:g}": Outcome(tost(a.mean(axis=1), b.mean(axis=1), MARGIN).rejects(ALPHA))}

    return study


def rate(rng: np.random.Generator) -> dict[str, Outcome]:
    """Parse rate of turns clustered by question: coverage with and without the design effect."""
    sums, sizes = simulate.turns(rng)
    truth = simulate.long_run_rate()
    return {
        "Wilson, design effect": Outcome(None, holds(clustered_wilson(sums, sizes), truth)),
        "Wilson, turns taken as independent": Outcome(None, holds(wilson(sums.sum(), sizes.sum()), truth)),
    }


def waits(rng: np.random.Generator) -> dict[str, Outcome]:
    """Turns to an event of episodes clustered by question: coverage of the curve at turn 3."""
    time, event, question = simulate.clustered_waits(rng)
    truth = simulate.long_run_survival(3)

    def covers(curve: Survival) -> bool:
        at = int(np.searchsorted(curve.time, 3, side="right")) - 1
        return bool(curve.low[at] <= truth <= curve.high[at])

    return {
        "Kaplan–Meier band, clustered by question": Outcome(None, covers(kaplan_meier(time, event, clusters=question))),
        "Kaplan–Meier band, Greenwood": Outcome(None, covers(kaplan_meier(time, event))),
    }


def speed(seeds: int, means: tuple[float, float]) -> Study:
    """Steps to a threshold of a few censored runs."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        (ta, ea), (tb, eb) = (simulate.waiting(rng, seeds, m) for m in means)
        z = restricted_mean_difference(ta, ea, tb, eb, 50)[1]
        return {
            "permutation of log-rank scores": Outcome(logrank_permutation(ta, ea, tb, eb).rejects(ALPHA)),
            "permutation of restricted times": Outcome(seed_permutation(ta, tb).rejects(ALPHA)),
            "log-rank, normal": Outcome(logrank(ta, ea, tb, eb).rejects(ALPHA)),
            "restricted mean difference, z": Outcome(z.rejects(ALPHA)),
        }

    return study


def faults(seeds: int, difference: float) -> Study:
    """Exposures and twins of two arms whose seeds differ in how well they recover; `difference` in P(right | fault)."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        data, truth = simulate.faulted(rng, seeds, difference)
        effects = [mean - twin for mean, twin in zip(data.fault.mean(axis=2), data.twin.mean(axis=2), strict=True)]
        arm, seed, question = (index.ravel() for index in np.indices(data.fault.shape))
        columns = {"fault": np.repeat([1.0, 0.0], arm.size), "arm": np.tile(arm == 0, 2).astype(float)}
        columns["fault x arm"] = columns["fault"] * columns["arm"]
        outcome = np.concatenate([data.fault.ravel(), data.twin.ravel()])
        out = {
            "permutation of the faults' effects": _both(
                permutation_interval(*effects), seed_permutation(*effects), difference
            ),
            "t interval of a fault's effect over seeds": Outcome(None, holds(mean_interval(effects[0]), truth)),
        }
        for name, clusters in (("by run", arm * seeds + seed), ("by question", question)):
            fit = gee_logit(outcome, columns, np.tile(clusters, 2))
            out[f"GEE logit of fault × arm, {name}"] = Outcome(bool(fit.coefficients) and fit["fault x arm"].p <= ALPHA)
        return out

    return study


def traced(link: float, drift: float = 0.0) -> Study:
    """Two autocorrelated traces a run, which may both drift with training."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        runs = simulate.traces(rng, link=link, drift=drift)
        seed = int(rng.integers(2**31))
        tests = {
            "lagged Spearman of changes, circular shifts": lagged_spearman(runs, difference=True, draws=399, seed=seed),
            "lagged Spearman of levels, circular shifts": lagged_spearman(runs, draws=399, seed=seed),
        }
        naive = stats.spearmanr(*(np.concatenate(traces) for traces in zip(*runs, strict=True))).pvalue
        out = {name: Outcome(found.test.rejects(ALPHA)) for name, found in tests.items()}
        return out | {"Spearman, steps taken as independent": Outcome(bool(naive <= ALPHA))}

    return study


def regression(slope: float) -> Study:
    """Outcome on failure share × hops of 15 runs over the same questions; a rate that depends on hops alone."""

    def study(rng: np.random.Generator) -> dict[str, Outcome]:
        y, failure, hops, run, question = simulate.clustered_regression(rng, slope=slope)
        ols = cluster_ols(y, {"failure": failure, "hops": hops, "failure x hops": failure * hops}, run)
        malformed = simulate.hops_outcome(rng, hops, question, slope)
        gee = gee_logit(malformed, {"hops": hops}, question)
        return {
            "OLS with interaction, by run": Outcome(ols["failure x hops"].p <= ALPHA),
            "GEE logit on hops, by question": Outcome(bool(gee.coefficients) and gee["hops"].p <= ALPHA),
        }

    return study
