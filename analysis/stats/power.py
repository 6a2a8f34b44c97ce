"""Power and sample size for seeds and for questions."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from analysis.stats.permutation import smallest_p, subset_indicators
from analysis.stats.types import DegenerateInput


def question_power_n(
    omega2: float,
    effect: float,
    sigma2_a: float = 0.0,
    sigma2_b: float = 0.0,
    samples_a: int = 1,
    samples_b: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Questions needed to detect a difference of two *checkpoints* `effect` (Miller 2024, "Adding error bars to evals",
    eq. 9).

    ω² is the variance over questions of the difference of expected scores, σ² the mean variance of one answer given
    the question, averaged over `samples` answers. Two-sided. Not rounded.
    """
    if effect <= 0 or omega2 < 0:
        raise DegenerateInput("effect must be positive and ω² not negative")
    z = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    return float(z**2 * (omega2 + sigma2_a / samples_a + sigma2_b / samples_b) / effect**2)


def seed_mean_sd(seed_sd: float, question_sd: float, questions: int) -> float:
    """SD of one seed's mean score: its own effect and what is left of answer noise that differs between seeds.

    `question_sd` is the SD of an answer given the question (√(p(1−p)) at most). The shared difficulty of the questions
    cancels in a contrast on the same set.
    """
    if questions < 1 or seed_sd < 0 or question_sd < 0:
        raise DegenerateInput("standard deviations must not be negative and there must be a question")
    return math.sqrt(seed_sd**2 + question_sd**2 / questions)


def seed_power(effect: float, sd: float, seeds: int, alpha: float = 0.05, draws: int = 2000, seed: int = 0) -> float:
    """Power of the exact unpaired seed permutation test, `seeds` v `seeds`, seed means normal with SD `sd`.

    Up to 6 seeds simulated with a fixed stream (Monte-Carlo SE at most .011 at 2000 draws), beyond by the noncentral t;
    exactly 0 where the design's smallest p exceeds α.
    """
    if sd <= 0:
        raise DegenerateInput("the SD over seeds must be positive")
    if smallest_p(seeds, seeds) > alpha:
        return 0.0
    rng = np.random.default_rng(seed)
    if seeds > 6:  # the permutation test is then so fine-grained that the t test has its power
        law = stats.nct(2 * seeds - 2, effect / (sd * math.sqrt(2 / seeds)))
        limit = stats.t.ppf(1 - alpha / 2, 2 * seeds - 2)
        return float(law.sf(limit) + np.nan_to_num(law.cdf(-limit)))  # scipy: NaN where the far tail underflows

    chosen = subset_indicators(2 * seeds, seeds)
    rejected = 0
    for part in np.array_split(np.arange(draws), max(1, draws // 200)):
        pooled = rng.normal(0, sd, (part.size, 2 * seeds))
        pooled[:, :seeds] += effect
        sums = pooled @ chosen.T
        observed = pooled[:, :seeds].sum(axis=1, keepdims=True)
        above = (sums >= observed - 1e-12).mean(axis=1)
        below = (sums <= observed + 1e-12).mean(axis=1)
        rejected += int((2 * np.minimum(above, below) <= alpha + 1e-12).sum())
    return rejected / draws


def seeds_needed(
    effect: float, sd: float, alpha: float = 0.05, power: float = 0.8, tests: int = 1, most: int = 64
) -> int | None:
    """Least number of seeds an arm with the wanted power at α / `tests` (Holm's hardest step); None above `most`."""
    if effect <= 0:
        raise DegenerateInput("effect must be positive")
    for seeds in range(2, most + 1):
        if smallest_p(seeds, seeds) <= alpha / tests and seed_power(effect, sd, seeds, alpha / tests) >= power:
            return seeds
    return None


def detectable_effect(sd: float, seeds: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Effect that `seeds` v `seeds` finds with the wanted power; None where the design cannot reach α at all."""
    if smallest_p(seeds, seeds) > alpha:
        return None
    low, high = 0.0, 20.0 * sd
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if seed_power(middle, sd, seeds, alpha) >= power else (middle, high)
    return high


def seeds_by_normal_law(effect: float, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Seeds (pairs, or seeds an arm) for a difference `effect`, by the normal law: ((z₁₋α/₂ + z_power)·sd/effect)².

    `sd` is the SD of what one seed adds to the difference: of a pair's difference where seeds are paired, else
    √(var a + var b). Too few below some 30, where the t law counts: `seeds_for_difference`.
    """
    if effect <= 0 or sd <= 0:
        raise DegenerateInput("effect and SD must be positive")
    z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
    return math.ceil((z * sd / effect) ** 2)


def difference_df(seeds: int, paired: bool, covariates: int = 0) -> int:
    """Degrees of freedom of the t law of a difference of `seeds` pairs, or of as many seeds an arm."""
    return (seeds - 1 if paired else 2 * seeds - 2) - covariates


def difference_power(
    effect: float, sd: float, seeds: int, paired: bool, alpha: float = 0.05, covariates: int = 0
) -> float:
    """Power of the t test of a difference, whose SD for one seed is `sd`; 0 where the exact test cannot reach α.
    `covariates`: adjusted for so many, `sd` being what they leave."""
    df = difference_df(seeds, paired, covariates)
    if smallest_p(seeds, seeds, paired) > alpha or df < 1:
        return 0.0
    law, limit = stats.nct(df, effect / (sd / math.sqrt(seeds))), stats.t.ppf(1 - alpha / 2, df)
    return float(law.sf(limit) + np.nan_to_num(law.cdf(-limit)))  # scipy: NaN where the far tail underflows


def seeds_for_difference(
    effect: float, sd: float, paired: bool, alpha: float = 0.05, power: float = 0.8, covariates: int = 0
) -> int:
    """Least number of seeds (pairs where `paired`, else an arm) with the wanted power by the noncentral t law."""
    seeds = max(2, seeds_by_normal_law(effect, sd, alpha, power))  # a lower bound: t has the heavier tails
    while difference_power(effect, sd, seeds, paired, alpha, covariates) < power:
        seeds += 1
    return seeds


def detectable_difference(
    sd: float, seeds: int, paired: bool, alpha: float = 0.05, power: float = 0.8, covariates: int = 0
) -> float | None:
    """Difference that `seeds` find with the wanted power; None where the exact test cannot reach α at all."""
    if sd <= 0 or seeds < 1 or smallest_p(seeds, seeds, paired) > alpha or difference_df(seeds, paired, covariates) < 1:
        return None
    low, high = 0.0, 20.0 * sd
    for _ in range(30):
        middle = (low + high) / 2
        found = difference_power(middle, sd, seeds, paired, alpha, covariates) >= power
        low, high = (low, middle) if found else (middle, high)
    return high
