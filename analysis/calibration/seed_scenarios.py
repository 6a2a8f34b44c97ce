"""Simulated studies of designs beyond two plain arms: unequal spread, collapse, pairs, factors, checks, clusters.

Values are seed means, in the unit of EM; SDs are those of the committed studies.
"""

from __future__ import annotations

import numpy as np

from analysis.calibration.scenarios import ALPHA, SimulatedStudy, SimulatedTest, covers_truth
from analysis.calibration.simulate import SimulationSetting, simulate_arms
from analysis.stats.ancova import adjusted_difference
from analysis.stats.cluster import bootstrap_clusters, cluster_mean_interval
from analysis.stats.crossed_levels import crossed_contrast
from analysis.stats.noise import split_noise
from analysis.stats.permutation import best_interval, permutation_interval, seed_permutation
from analysis.stats.pooled_effects import interaction, main_effect
from analysis.stats.random_levels import Assignment, level_contrast
from analysis.stats.types import Estimate, Test
from analysis.stats.unequal_spread import check_spread, studentized_permutation, welch_p

RUN_SD = 0.03
"""SD over seeds of a run's value."""
COLLAPSED_SHARE, COLLAPSE_DEPTH, STATE_SD = 0.11, 0.18, 0.026
"""Share of collapsed runs, their loss (greedy EM of one search against a search per hop), the SD of other runs."""


def _judged(found: tuple[Estimate, Test], truth: float) -> SimulatedTest:
    estimate, test = found
    return SimulatedTest(test.rejects(ALPHA), covers_truth(estimate, truth))


def unequal_spread_study(seeds: tuple[int, int], ratio: float, effect: float) -> SimulatedStudy:
    """Normal arms whose SDs differ: the plain permutation, the studentized one, Welch, and the rule that reports use:
    the permutation test, and where SDs differ by SD_RATIO Welch's too."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b = rng.normal(effect, ratio * RUN_SD, seeds[0]), rng.normal(0, RUN_SD, seeds[1])
        plain, welch = seed_permutation(a, b), welch_p(a, b)
        check = check_spread(a, b)
        both = plain.rejects(ALPHA) and (check.welch_p is None or check.welch_p <= ALPHA)
        return {
            "permutation, with Welch where SDs differ": SimulatedTest(both),
            "seed permutation of unequal SDs": _judged((permutation_interval(a, b), plain), effect),
            "studentized permutation": SimulatedTest(studentized_permutation(a, b).rejects(ALPHA)),
            "Welch t of unequal SDs": SimulatedTest(welch <= ALPHA),
        }

    return study


def collapse_study(seeds: int, effect: float) -> SimulatedStudy:
    """Equal means (but for `effect`), a tenth of arm A's runs collapsed: the distributions differ, the means do not."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        fallen = rng.random(seeds) < COLLAPSED_SHARE
        a = rng.normal(effect + COLLAPSED_SHARE * COLLAPSE_DEPTH, STATE_SD, seeds) - COLLAPSE_DEPTH * fallen
        b = rng.normal(0, STATE_SD, seeds)
        check = check_spread(a, b)
        rejected = seed_permutation(a, b).rejects(ALPHA) and (check.welch_p is None or check.welch_p <= ALPHA)
        return {
            "permutation, with Welch where SDs differ; runs collapse": SimulatedTest(rejected),
            "the same, without the claims that a note on shape accompanies": SimulatedTest(
                rejected and not check.mixed
            ),
            "Welch t; runs collapse": SimulatedTest(welch_p(a, b) <= ALPHA),
            "sign flips of seed pairs; runs collapse": SimulatedTest(seed_permutation(a, b, True).rejects(ALPHA)),
        }

    return study


def pairing_study(seeds: int, correlation: float, effect: float) -> SimulatedStudy:
    """Runs of a seed that are alike in both arms."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        shared = rng.normal(0, RUN_SD * np.sqrt(correlation), seeds)
        a, b = shared + rng.normal(0, RUN_SD * np.sqrt(1 - correlation), (2, seeds))
        a = a + effect
        return {
            "sign flips of seed pairs": _judged(
                (best_interval(a, b, True), seed_permutation(a, b, paired=True)), effect
            ),
            "seed permutation, pairs ignored": _judged((permutation_interval(a, b), seed_permutation(a, b)), effect),
        }

    return study


def nested_study(levels: int, runs: int, effect: float) -> SimulatedStudy:
    """Each start policy trains one arm only, over several seeds: runs of a start are alike."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        own = np.repeat(rng.normal(0, RUN_SD, 2 * levels), runs)
        values = own + rng.normal(0, RUN_SD, own.size)
        labels = np.repeat(np.arange(2 * levels), runs)
        half = levels * runs
        a, b = values[:half] + effect, values[half:]
        return {
            "permutation of levels, nested": _judged(
                level_contrast(a, labels[:half].tolist(), b, labels[half:].tolist()), effect
            ),
            "seed permutation, nesting ignored": SimulatedTest(welch_p(a, b) <= ALPHA),
        }

    return study


def crossed_study(levels: int, runs: int, effect: float) -> SimulatedStudy:
    """Each start policy trains both arms, and the effect differs between starts."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        own, gain = rng.normal(0, RUN_SD, (2, levels))
        a = np.repeat(own + gain, runs) + rng.normal(effect, RUN_SD, levels * runs)
        b = np.repeat(own, runs) + rng.normal(0, RUN_SD, levels * runs)
        labels = np.repeat(np.arange(levels), runs).tolist()
        return {
            "sign flips of levels, crossed": _judged(level_contrast(a, labels, b, labels), effect),
            "sign flips of runs, levels ignored": SimulatedTest(
                seed_permutation(a, b, paired=True).rejects(ALPHA) if a.size <= 32 else None
            ),
        }

    return study


def twice_crossed_study(levels: tuple[int, int], effect: float) -> SimulatedStudy:
    """Two random factors, both crossed with the treatment, whose effect differs between the levels of each."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        rows, columns = (rng.normal(0, RUN_SD, n) for n in levels)
        d = effect + rows[:, None] + columns[None, :] + rng.normal(0, RUN_SD, levels)
        by_row = d.mean(axis=1)
        return {
            "t of two crossed random factors": _judged(
                crossed_contrast(d, np.zeros_like(d), Assignment.CROSSED, Assignment.CROSSED), effect
            ),
            "sign flips of one of two random factors": SimulatedTest(
                seed_permutation(by_row, np.zeros_like(by_row), paired=True).rejects(ALPHA)
            ),
        }

    return study


def nested_and_crossed_study(levels: tuple[int, int], effect: float) -> SimulatedStudy:
    """Start policies of one arm each, under search seeds that both arms share and whose own level is three times as
    large."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        shared = rng.normal(0, 3 * RUN_SD, levels[1])
        values = rng.normal(0, RUN_SD, (2, *levels)) + shared
        values += rng.normal(0, RUN_SD, (2, levels[0]))[:, :, None] + rng.normal(0, RUN_SD, (2, levels[1]))[:, None, :]
        a, b = values[0] + effect, values[1]
        return {
            "t of a nested and a crossed random factor": _judged(
                crossed_contrast(a, b, Assignment.NESTED, Assignment.CROSSED), effect
            ),
            "permutation of the nested factor, the crossed one ignored": SimulatedTest(
                seed_permutation(a.mean(axis=1), b.mean(axis=1)).rejects(ALPHA)
            ),
        }

    return study


def factorial_study(seeds: int, cells: int, effect: float) -> SimulatedStudy:
    """Two levels of a factor in the cells of others, whose own levels lie far apart; no interaction.

    The paired form has runs of a seed that are alike in all cells. `effect` of the interaction rows: one cell's excess.
    """

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        shift = rng.normal(0, 3 * RUN_SD, cells)
        values = rng.normal(0, RUN_SD, (cells, 2, seeds)) + shift[:, None, None]
        values[:, 0] += effect
        seed_effect = rng.normal(0, RUN_SD, (2, seeds))  # of a seed and level, the same in all cells
        pairs = [(a, b) for a, b in values]
        alike = [(a + seed_effect[0], b + seed_effect[1]) for a, b in values]
        stronger = (values[0, 0] + effect, values[0, 1])
        single, pooled = seed_permutation(*pairs[0]), values.transpose(1, 0, 2).reshape(2, -1)
        return {
            "main effect, permutation within cells": _judged(main_effect(pairs, draws=1999), effect),
            "main effect, sign flips of seeds over cells": _judged(main_effect(alike, paired=True), effect),
            "main effect, runs of a seed taken as independent": _judged(main_effect(alike, draws=1999), effect),
            "contrast in one cell alone": SimulatedTest(single.rejects(ALPHA)),
            "main effect, cells ignored": SimulatedTest(welch_p(*pooled) <= ALPHA),
            "interaction of two cells, t": _judged(interaction(stronger, pairs[1]), effect),
            "interaction of two cells, sign flips": SimulatedTest(
                interaction((alike[0][0] + effect, alike[0][1]), alike[1], paired=True)[1].rejects(ALPHA)
            ),
        }

    return study


def covariate_study(seeds: int, effect: float) -> SimulatedStudy:
    """Arms that branch from checkpoints whose level explains half of the variance at the end."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        x, y = rng.normal(0, RUN_SD, (2, seeds))
        a, b = (u + rng.normal(0, RUN_SD, seeds) for u in (x, y))
        shared = rng.normal(0, RUN_SD, seeds)
        noise = rng.normal(0, RUN_SD, (2, seeds))
        # The effect grows with the level of the checkpoint; at the mean of these checkpoints it is `effect`.
        left, right = noise[0] + shared + effect + (shared - shared.mean()), noise[1] + shared
        return {
            "adjusted difference, permutation": _judged(adjusted_difference(a + effect, b, x, y), effect),
            "seed permutation, covariate ignored": SimulatedTest(seed_permutation(a + effect, b).rejects(ALPHA)),
            "adjusted difference of branched pairs, sign flips": _judged(
                adjusted_difference(left, right, shared, shared, paired=True), effect
            ),
            "sign flips of branched pairs, covariate ignored": SimulatedTest(
                seed_permutation(left, right, paired=True).rejects(ALPHA)
            ),
        }

    return study


def filtered_study(seeds: int, effect: float) -> SimulatedStudy:
    """The registered contrast where a check holds, on the runs that the check is evaluated on.

    `learns`: the better arm's mean exceeds a bound met in nearly all, or about half, of the studies. Controls share the
    baseline: a placebo whose interval holds 0, and a planted effect found in nearly all, or about half. Studies whose
    check fails are not counted.
    """

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        a, b, placebo, planted = rng.normal(0, RUN_SD, (4, seeds))
        a = a + effect
        result = SimulatedTest(seed_permutation(a, b).rejects(ALPHA), covers_truth(best_interval(a, b), effect))
        error = RUN_SD / np.sqrt(seeds)
        best = max(a.mean(), b.mean()) - effect / 2

        def lowest(shift: float) -> float:
            interval = best_interval(planted + shift, b).interval
            return interval.low if interval is not None else -np.inf

        null = best_interval(placebo, b).interval
        holds = {
            "learns": best >= -1.5 * error,
            "learns, met by half of the studies": best >= 0.56 * error,  # median of the larger of two normal means
            "a placebo": null is not None and null.low <= 0 <= null.high,
            "a planted effect": lowest(5 * error) > 0,
            "a planted effect, found by half of the studies": lowest(2.9 * error) > 0,
        }
        left_out = SimulatedTest(None)
        return {f"permutation, given {name}": result if passed else left_out for name, passed in holds.items()}

    return study


def cluster_study(clusters: int, members: int, effect: float) -> SimulatedStudy:
    """A mean over questions of several forks each, skewed and alike within a question."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        own = np.repeat(rng.gamma(2.0, RUN_SD, clusters) - 2 * RUN_SD, members)
        values = effect + own + rng.normal(0, RUN_SD, own.size)
        labels = np.repeat(np.arange(clusters), members)
        boot = bootstrap_clusters(values, labels, draws=500, seed=int(rng.integers(2**31)))
        forks = bootstrap_clusters(values, np.arange(values.size), draws=200, seed=int(rng.integers(2**31)))
        named = {
            "t over clusters": cluster_mean_interval(values, labels),
            "cluster bootstrap, percentile": boot,
            "bootstrap of forks, clusters ignored": forks,
        }
        return {
            name: SimulatedTest(covers_truth(found, 0.0) is False, covers_truth(found, effect))
            for name, found in named.items()
        }

    return study


def noise_study(seeds: int, questions: int, seed_sd: float, detect: bool = True) -> SimulatedStudy:
    """Spread of runs over the same questions. `detect`: whether spread beyond coin flips is claimed (its type-I error
    at `seed_sd` 0, its power above); coverage of `seed_sd` by the interval of the seeds' own SD."""

    def study(rng: np.random.Generator) -> dict[str, SimulatedTest]:
        world = SimulationSetting(seeds=seeds, questions=questions, seed_sd=seed_sd)
        split = split_noise(simulate_arms(world, rng)[0])
        inside = split.seed_interval.low - 1e-12 <= seed_sd <= split.seed_interval.high + 1e-12
        return {
            "seeds' own SD, χ² less coin flips": SimulatedTest(not split.noise_explains if detect else None, inside)
        }

    return study
