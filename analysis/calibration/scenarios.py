"""Simulated studies for `analysis.calibration`: each draw is passed to every test of its kind.

A study maps a random generator to results by the name of the test; `roles.py` has the use of each test in reports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.calibration import simulate
from analysis.calibration.simulate import SimulationSetting
from analysis.stats.aggregate import (
    bootstrap_seeds,
    iqm,
    jackknife_seeds,
    probability_of_improvement,
    seed_question_bootstrap,
)
from analysis.stats.cluster import paired_questions, two_way_cluster
from analysis.stats.lagged_correlation import lagged_spearman
from analysis.stats.multiplicity import holm, tost
from analysis.stats.permutation import difference_interval, mean_interval, permutation_interval, seed_permutation
from analysis.stats.proportions import clustered_wilson, mcnemar, paired_table, two_proportion_z, wilson
from analysis.stats.regression import cluster_ols, gee_logit
from analysis.stats.survival import Survival, kaplan_meier, logrank, logrank_permutation, restricted_mean_difference
from analysis.stats.types import Estimate, Interval, Test

ALPHA = 0.05
EQUIVALENCE_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class SimulatedTest:
    """Result of one test on one simulated study: rejection, and coverage of the truth by its interval (None: no
    interval)."""

    rejected: bool | None
    covered: bool | None = None


SimulatedStudy = Callable[[np.random.Generator], dict[str, SimulatedTest]]


def covers_truth(estimate: Estimate, truth: float) -> bool | None:
    """Whether the interval contains the truth; None where there is no interval."""
    return _inside(estimate.interval, truth) if estimate.interval is not None else None


def _inside(interval: Interval, truth: float) -> bool:
    return interval.low - 1e-12 <= truth <= interval.high + 1e-12


def _both(estimate: Estimate, test: Test, truth: float) -> SimulatedTest:
    return SimulatedTest(test.rejects(ALPHA), covers_truth(estimate, truth))


def contrast_study(world: SimulationSetting) -> SimulatedStudy:
    """Two arms on one suite, with all methods for a p-value and an interval."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b, (truth, _) = simulate.simulate_arms(world, rng)
        x, y = a.mean(axis=1), b.mean(axis=1)
        welch = difference_interval(x, y)
        out = {
            "seed permutation, exact": _both(permutation_interval(x, y), seed_permutation(x, y), world.effect),
            "seed permutation, paired by seed": _both(
                permutation_interval(x, y, True), seed_permutation(x, y, paired=True), world.effect
            ),
            "Welch t on seed means": SimulatedTest(
                covers_truth(welch, 0.0) is False, covers_truth(welch, world.effect)
            ),
            "t interval of one arm": SimulatedTest(None, covers_truth(mean_interval(x), truth)),
            "question-paired, seeds taken as fixed": _both(
                *paired_questions(a.mean(axis=0), b.mean(axis=0)), world.effect
            ),
            "McNemar of one checkpoint pair": SimulatedTest(mcnemar(paired_table(a[0], b[0])).rejects(ALPHA)),
            "two-proportion z": SimulatedTest(two_proportion_z(a.sum(), a.size, b.sum(), b.size).rejects(ALPHA)),
        }
        for law in ("t", "z"):
            out[f"two-way cluster, {law}"] = _both(*two_way_cluster(a, b, distribution=law), world.effect)
        boot = seed_question_bootstrap(a, b, draws=400, seed=int(rng.integers(2**31)))
        out["two-way percentile bootstrap"] = SimulatedTest(
            covers_truth(boot, 0.0) is False, covers_truth(boot, world.effect)
        )
        return out

    return study


def checkpoint_study(world: SimulationSetting) -> SimulatedStudy:
    """Two checkpoints, no seed effect: the claim that question-level tests support."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b, _ = simulate.simulate_arms(world, rng)
        return {
            "McNemar, exact": SimulatedTest(mcnemar(paired_table(a[0], b[0])).rejects(ALPHA)),
            "paired questions, z": _both(*paired_questions(a[0], b[0]), world.effect),
        }

    return study


def family_study(world: SimulationSetting, n: int) -> SimulatedStudy:
    """n suites that share seed effects: any rejection with and without Holm (family-wise error), and aggregates."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b, many = simulate.simulate_suites(world, n, rng)
        p = [seed_permutation(a[:, i], b[:, i]).p for i in range(n)]
        raw, adjusted = (min(v for v in values if v is not None) for values in (p, holm(p)))
        out = {
            f"any of {n} suites, Holm": SimulatedTest(adjusted <= ALPHA),
            f"any of {n} suites, uncorrected": SimulatedTest(raw <= ALPHA),
            f"mean over {n} suites, permutation": SimulatedTest(
                seed_permutation(a.mean(axis=1), b.mean(axis=1)).rejects(ALPHA)
            ),
        }
        out["IQM, t of jackknifed seeds"] = SimulatedTest(None, covers_truth(jackknife_seeds([a], iqm), iqm(many[0])))
        out["IQM, percentile bootstrap of seeds"] = SimulatedTest(
            None, covers_truth(bootstrap_seeds([a], iqm, draws=300, seed=int(rng.integers(2**31))), iqm(many[0]))
        )
        # Three arms, suites as blocks. The suites of a run share its seed effect, so they are no independent blocks.
        third = many[0][: world.seeds]
        friedman = stats.friedmanchisquare(*(m.mean(axis=0) for m in (a, b, third)))
        out[f"Friedman over {n} suites"] = SimulatedTest(bool(friedman.pvalue <= ALPHA))
        if not world.effect:
            better = bootstrap_seeds([a, b], probability_of_improvement, draws=300, seed=int(rng.integers(2**31)))
            jack = jackknife_seeds([a, b], probability_of_improvement)
            out["P(improvement), t of jackknifed seeds"] = SimulatedTest(
                covers_truth(jack, 0.5) is False, covers_truth(jack, 0.5)
            )
            out["P(improvement), percentile bootstrap of seeds"] = SimulatedTest(
                covers_truth(better, 0.5) is False, covers_truth(better, 0.5)
            )
        return out

    return study


def equivalence_study(world: SimulationSetting) -> SimulatedStudy:
    """TOST: its null is a difference of exactly the margin, its power is against no difference."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b, _ = simulate.simulate_arms(world, rng)
        return {
            f"TOST, margin {EQUIVALENCE_MARGIN:g}": SimulatedTest(
                tost(a.mean(axis=1), b.mean(axis=1), EQUIVALENCE_MARGIN).rejects(ALPHA)
            )
        }

    return study


def rate_study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
    """Parse rate of turns clustered by question: coverage with and without the design effect."""
    sums, sizes = simulate.simulate_turns(rng)
    truth = simulate.long_run_rate()
    return {
        "Wilson, design effect": SimulatedTest(None, covers_truth(clustered_wilson(sums, sizes), truth)),
        "Wilson, turns taken as independent": SimulatedTest(None, covers_truth(wilson(sums.sum(), sizes.sum()), truth)),
    }


def waiting_study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
    """Turns to an event of episodes clustered by question: coverage of the curve at turn 3."""
    time, event, question = simulate.simulate_clustered_waits(rng)
    truth = simulate.long_run_survival(3)

    def covers(curve: Survival) -> bool:
        at = int(np.searchsorted(curve.time, 3, side="right")) - 1
        return bool(curve.low[at] <= truth <= curve.high[at])

    return {
        "Kaplan–Meier band, clustered by question": SimulatedTest(
            None, covers(kaplan_meier(time, event, clusters=question))
        ),
        "Kaplan–Meier band, Greenwood": SimulatedTest(None, covers(kaplan_meier(time, event))),
    }


def threshold_study(seeds: int, means: tuple[float, float]) -> SimulatedStudy:
    """Steps to a threshold of a few censored runs."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        (ta, ea), (tb, eb) = (simulate.simulate_threshold_times(rng, seeds, m) for m in means)
        z = restricted_mean_difference(ta, ea, tb, eb, 50)[1]
        return {
            "permutation of log-rank scores": SimulatedTest(logrank_permutation(ta, ea, tb, eb).rejects(ALPHA)),
            "permutation of restricted times": SimulatedTest(seed_permutation(ta, tb).rejects(ALPHA)),
            "log-rank, normal": SimulatedTest(logrank(ta, ea, tb, eb).rejects(ALPHA)),
            "restricted mean difference, z": SimulatedTest(z.rejects(ALPHA)),
        }

    return study


def fault_study(seeds: int, difference: float) -> SimulatedStudy:
    """Exposures and fault-free counterparts of two arms whose seeds differ in recovery; `difference` in P(right |
    fault)."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        data, truth = simulate.simulate_faults(rng, seeds, difference)
        effects = [mean - twin for mean, twin in zip(data.fault.mean(axis=2), data.twin.mean(axis=2), strict=True)]
        arm, seed, question = (index.ravel() for index in np.indices(data.fault.shape))
        columns = {"fault": np.repeat([1.0, 0.0], arm.size), "arm": np.tile(arm == 0, 2).astype(float)}
        columns["fault x arm"] = columns["fault"] * columns["arm"]
        outcome = np.concatenate([data.fault.ravel(), data.twin.ravel()])
        out = {
            "permutation of the faults' effects": _both(
                permutation_interval(*effects), seed_permutation(*effects), difference
            ),
            "t interval of a fault's effect over seeds": SimulatedTest(
                None, covers_truth(mean_interval(effects[0]), truth)
            ),
        }
        for name, clusters in (("by run", arm * seeds + seed), ("by question", question)):
            fit = gee_logit(outcome, columns, np.tile(clusters, 2))
            out[f"GEE logit of fault × arm, {name}"] = SimulatedTest(
                bool(fit.coefficients) and fit["fault x arm"].p <= ALPHA
            )
        return out

    return study


def trace_study(link: float, drift: float = 0.0) -> SimulatedStudy:
    """Two autocorrelated traces a run, which may both drift with training."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        runs = simulate.simulate_traces(rng, link=link, drift=drift)
        seed = int(rng.integers(2**31))
        tests = {
            "lagged Spearman of changes, circular shifts": lagged_spearman(runs, difference=True, draws=399, seed=seed),
            "lagged Spearman of levels, circular shifts": lagged_spearman(runs, draws=399, seed=seed),
        }
        naive = stats.spearmanr(*(np.concatenate(traces) for traces in zip(*runs, strict=True))).pvalue
        out = {name: SimulatedTest(found.test.rejects(ALPHA)) for name, found in tests.items()}
        return out | {"Spearman, steps taken as independent": SimulatedTest(bool(naive <= ALPHA))}

    return study


def regression_study(slope: float) -> SimulatedStudy:
    """Outcome on failure share × hops of 15 runs over the same questions; a rate that depends on hops alone."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        y, failure, hops, run, question = simulate.simulate_regression(rng, slope=slope)
        ols = cluster_ols(y, {"failure": failure, "hops": hops, "failure x hops": failure * hops}, run)
        malformed = simulate.simulate_hops_outcome(rng, hops, question, slope)
        gee = gee_logit(malformed, {"hops": hops}, question)
        return {
            "OLS with interaction, by run": SimulatedTest(ols["failure x hops"].p <= ALPHA),
            "GEE logit on hops, by question": SimulatedTest(bool(gee.coefficients) and gee["hops"].p <= ALPHA),
        }

    return study
