"""Simulated studies with known truth: seed effects, question effects, and a known difference between arms.

    logit P(right) = question difficulty + arm + seed effect          one 0/1 answer a seed and question

The seed effect belongs to one run of one arm, so runs of the same seed number in two arms are independent, as they are
when training draws its own rollouts. Sizes follow small-scale training runs: seed SD 1.7 points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

DIFFICULTY_SD = 2.0
"""SD of question difficulty in log odds. At mean EM .4 an answer's variance given its question is then .61 of p(1 − p):
shared questions carry the rest, which cancels between arms. (The two-proportion z ignores both this and the seeds: the
less is shared, the more it errs. See `expected_error`.)"""


@dataclass(frozen=True, slots=True)
class SimulationSetting:
    """`seed_sd` and `effect` in EM (e.g. .017, .03); `base` is the mean EM without effect."""

    seeds: int = 5
    questions: int = 500
    effect: float = 0.0
    seed_sd: float = 0.017
    base: float = 0.4


@lru_cache
def _slope(base: float) -> tuple[float, float]:
    """(intercept, d EM / d logit): the mean difficulty that gives `base`, and the slope of EM in it."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = weights / weights.sum()
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(weights @ (1 / (1 + np.exp(-(middle + DIFFICULTY_SD * nodes)))))
        low, high = (middle, high) if mean < base else (low, middle)
    p = 1 / (1 + np.exp(-(low + DIFFICULTY_SD * nodes)))
    return low, float(weights @ (p * (1 - p)))


def _chances(
    world: SimulationSetting, hard: np.ndarray, shift: float, seeds: int, rng: np.random.Generator
) -> np.ndarray:
    """P(right) of `seeds` runs on questions of these difficulties, shape [seeds, *hard.shape]."""
    slope = _slope(world.base)[1]
    effect = rng.normal(0, world.seed_sd / slope, (seeds, *[1] * hard.ndim))
    return 1 / (1 + np.exp(-(hard + shift + effect)))


def simulate_arms(
    world: SimulationSetting, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """0/1 answers of two arms, each [seeds, questions], on the same questions; A is better by `effect`.

    Last: the EM on these questions that each arm's seeds scatter around.
    """
    intercept, slope = _slope(world.base)
    hard = intercept + rng.normal(0, DIFFICULTY_SD, world.questions)
    half = world.effect / 2 / slope
    chances = [_chances(world, hard, shift, world.seeds, rng) for shift in (half, -half)]
    a, b = ((rng.random(p.shape) < p).astype(np.float64) for p in chances)
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    around = nodes[:, None] * world.seed_sd / slope + hard
    truths = [float(weights @ (1 / (1 + np.exp(-(around + s)))).mean(axis=1) / weights.sum()) for s in (half, -half)]
    return a, b, (truths[0], truths[1])


def simulate_suites(
    world: SimulationSetting, n: int, rng: np.random.Generator, many: int = 200
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Seed means [seeds, n suites] of two arms; the suites of a run share its seed effect.

    Last: the same of `many` further seeds on these questions, as the truth about the arms.
    """
    intercept, slope = _slope(world.base)
    hard = intercept + rng.normal(0, DIFFICULTY_SD, (n, world.questions))
    half = world.effect / 2 / slope
    drawn = []
    for shift in (half, -half):
        p = _chances(world, hard, shift, world.seeds + many, rng)
        drawn.append((rng.random(p.shape) < p).mean(axis=2))
    (a, more_a), (b, more_b) = ((m[: world.seeds], m[world.seeds :]) for m in drawn)
    return a, b, (more_a, more_b)


def expected_error(world: SimulationSetting, alpha: float = 0.05) -> dict[str, float]:
    """Type-I error, by the normal law and for many seeds, of the two tests that ignore a part of the variance.

    A seed's mean EM varies by seed_sd² + w/Q, w an answer's variance given its question. The two-proportion z takes
    p(1 − p)/Q for it, the question-paired test w/Q.
    """
    w = _slope(world.base)[1]  # d EM / d logit is the mean of p(1 − p) over questions: the same number
    true = world.seed_sd**2 + w / world.questions
    taken = {"two-proportion z": world.base * (1 - world.base), "question-paired, seeds taken as fixed": w}
    limit = stats.norm.ppf(1 - alpha / 2)
    return {k: float(2 * stats.norm.sf(limit * np.sqrt(v / world.questions / true))) for k, v in taken.items()}


def simulate_turns(
    rng: np.random.Generator, questions: int = 100, per_question: int = 15, rate: float = 0.9, sd: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(well-formed turns, turns) by question; turns of a question are alike. Their mean is `long_run_rate`."""
    logits = np.log(rate / (1 - rate)) + rng.normal(0, sd, questions)
    trials = 1 + rng.poisson(per_question - 1, questions)
    return rng.binomial(trials, 1 / (1 + np.exp(-logits))).astype(float), trials.astype(float)


def long_run_rate(rate: float = 0.9, sd: float = 1.0) -> float:
    """The mean of `simulate_turns`' rate over questions (Gauss–Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    p = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + sd * nodes)))
    return float(weights @ p / weights.sum())


def simulate_clustered_waits(
    rng: np.random.Generator, questions: int = 100, episodes: int = 5, hazard: float = 0.15, sd: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(turn, came, question) of episodes whose chance of the event in a turn is their question's; ends are free."""
    logits = np.log(hazard / (1 - hazard)) + rng.normal(0, sd, questions)
    question = np.repeat(np.arange(questions), episodes)
    came = rng.geometric(1 / (1 + np.exp(-logits[question])))
    end = 1 + rng.poisson(4, question.size)
    return np.minimum(came, end).astype(float), came <= end, question


def long_run_survival(turn: int, hazard: float = 0.15, sd: float = 1.0) -> float:
    """P(no event up to `turn`) of `simulate_clustered_waits`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    p = 1 / (1 + np.exp(-(np.log(hazard / (1 - hazard)) + sd * nodes)))
    return float(weights @ (1 - p) ** turn / weights.sum())


class FaultAnswers(NamedTuple):
    """0/1 answers [arms, seeds, questions] with an injected fault and without."""

    fault: np.ndarray
    twin: np.ndarray


def simulate_faults(
    rng: np.random.Generator, seeds: int = 5, difference: float = 0.0, questions: int = 100, seed_sd: float = 0.08
) -> tuple[FaultAnswers, float]:
    """Two arms under faults, and the first arm's true effect. A policy that knows the answer recovers with a
    probability drawn by seed (SD `seed_sd` around .6); arms differ in P(right | fault) by `difference`."""
    intercept = _slope(0.4)[0]
    p = 1 / (1 + np.exp(-(intercept + rng.normal(0, DIFFICULTY_SD, questions))))
    half = difference / 2 / p.mean()
    middle = np.array([0.6 + half, 0.6 - half])
    chance = np.clip(middle[:, None] + rng.normal(0, seed_sd, (2, seeds)), 0, 1)[:, :, None]
    shape = (2, seeds, questions)
    fault = rng.random(shape) < p * chance + 0.05 * (1 - p)
    truth = float((p * middle[0] + 0.05 * (1 - p) - p).mean())
    return FaultAnswers(fault.astype(float), (rng.random(shape) < p).astype(float)), truth


def simulate_traces(
    rng: np.random.Generator,
    runs: int = 5,
    length: int = 30,
    memory: float = 0.5,
    link: float = 0.0,
    drift: float = 0.0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of autocorrelated traces; with `link`, y follows x one step later; with `drift`, both rise by it."""
    out = []
    for _ in range(runs):
        noise = rng.normal(size=(2, length))
        for t in range(1, length):
            noise[:, t] += memory * noise[:, t - 1]
        y = noise[1].copy()
        y[1:] += link * noise[0, :-1]
        rise = drift * np.arange(length) / length
        out.append((noise[0] + rise, y + rise))
    return out


def simulate_threshold_times(
    rng: np.random.Generator, runs: int = 5, mean: float = 20.0, evaluations: int = 10, every: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """(time, reached) of runs whose waiting time is gamma with this mean, seen at evaluations, censored at the last."""
    steps = np.ceil(rng.gamma(4.0, mean / 4.0, runs) / every) * every
    horizon = float(evaluations * every)
    return np.minimum(steps, horizon), steps <= horizon


def simulate_regression(
    rng: np.random.Generator, runs: int = 15, questions: int = 140, slope: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(right 0/1, share of malformed turns, hops, run, question): every run answers every question once.

    `slope` is how much more a malformed share costs with every further hop, in EM.
    """
    run, question = np.repeat(np.arange(runs), questions), np.tile(np.arange(questions), runs)
    hops = (1 + np.arange(questions) % 3)[question].astype(float)
    failure = np.where(rng.random(run.size) < 0.2, rng.choice([0.25, 0.5, 0.75], run.size), 0.0)
    hard = rng.normal(0, 0.15, questions)[question] + rng.normal(0, 0.03, runs)[run]
    p = 0.7 - 0.1 * (hops - 1) - 0.2 * failure - slope * failure * (hops - 2) + hard
    return (rng.random(run.size) < p).astype(float), failure, hops, run, question


def simulate_hops_outcome(
    rng: np.random.Generator, hops: np.ndarray, question: np.ndarray, slope: float = 0.0
) -> np.ndarray:
    """Whether an episode has a malformed turn: its question's own chance, which rises by `slope` (log odds) a hop."""
    own = rng.normal(0, 0.8, int(question.max()) + 1)[question]
    return (rng.random(question.size) < 1 / (1 + np.exp(2 - slope * (hops - 2) - own))).astype(float)
