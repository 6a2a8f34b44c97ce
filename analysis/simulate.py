"""Made-up studies with known truth: seed effects, question effects, and a known difference between arms.

    logit P(right) = question difficulty + arm + seed effect          one 0/1 answer a seed and question

The seed effect belongs to one run of one arm, so runs of the same seed number in two arms are independent, as they are
when training draws its own rollouts. Sizes follow what small-scale training of this kind showed: seed SD 1.7 points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DIFFICULTY_SD = 1.5
"""SD of question difficulty in log odds: mean EM .4 then has a within-question answer variance of about .16."""


@dataclass(frozen=True, slots=True)
class World:
    """`seed_sd` and `effect` in EM (e.g. .017, .03); `base` is the mean EM without effect."""

    seeds: int = 5
    questions: int = 500
    effect: float = 0.0
    seed_sd: float = 0.017
    base: float = 0.4


@lru_cache
def _slope(base: float) -> tuple[float, float]:
    """(intercept, d EM / d logit): the mean difficulty that gives `base`, and how EM moves with it."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    weights = weights / weights.sum()
    low, high = -8.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(weights @ (1 / (1 + np.exp(-(middle + DIFFICULTY_SD * nodes)))))
        low, high = (middle, high) if mean < base else (low, middle)
    p = 1 / (1 + np.exp(-(low + DIFFICULTY_SD * nodes)))
    return low, float(weights @ (p * (1 - p)))


def arms(world: World, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """0/1 answers of two arms, each [seeds, questions], on the same questions; A is better by `effect`."""
    intercept, slope = _slope(world.base)
    hard = intercept + rng.normal(0, DIFFICULTY_SD, world.questions)
    half = world.effect / 2 / slope
    out = []
    for shift in (half, -half):
        seed = rng.normal(0, world.seed_sd / slope, (world.seeds, 1))
        p = 1 / (1 + np.exp(-(hard + shift + seed)))
        out.append((rng.random(p.shape) < p).astype(np.float64))
    return out[0], out[1]


def suites(world: World, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Seed means [seeds, n suites] of two arms; the suites of a run share its seed effect."""
    intercept, slope = _slope(world.base)
    hard = intercept + rng.normal(0, DIFFICULTY_SD, (n, world.questions))
    half = world.effect / 2 / slope
    out = []
    for shift in (half, -half):
        seed = rng.normal(0, world.seed_sd / slope, (world.seeds, 1, 1))
        p = 1 / (1 + np.exp(-(hard[None] + shift + seed)))
        out.append((rng.random(p.shape) < p).mean(axis=2))
    return out[0], out[1]


def turns(
    rng: np.random.Generator, questions: int = 100, per_question: int = 15, rate: float = 0.9, sd: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """(well-formed turns, turns) by question; turns of a question are alike. Their mean is `long_run_rate`."""
    logits = np.log(rate / (1 - rate)) + rng.normal(0, sd, questions)
    trials = 1 + rng.poisson(per_question - 1, questions)
    return rng.binomial(trials, 1 / (1 + np.exp(-logits))).astype(float), trials.astype(float)


def long_run_rate(rate: float = 0.9, sd: float = 1.0) -> float:
    """The mean of `turns`' rate over questions (Gauss–Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    p = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + sd * nodes)))
    return float(weights @ p / weights.sum())


def traces(
    rng: np.random.Generator, runs: int = 5, length: int = 40, memory: float = 0.7, link: float = 0.0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of autocorrelated traces; with `link`, y follows x one step later."""
    out = []
    for _ in range(runs):
        noise = rng.normal(size=(2, length))
        for t in range(1, length):
            noise[:, t] += memory * noise[:, t - 1]
        y = noise[1].copy()
        y[1:] += link * noise[0, :-1]
        out.append((noise[0], y))
    return out


def waiting(
    rng: np.random.Generator, runs: int = 5, mean: float = 20.0, evaluations: int = 10, every: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """(time, reached) of runs whose waiting time is gamma with this mean, seen at evaluations, censored at the last."""
    steps = np.ceil(rng.gamma(4.0, mean / 4.0, runs) / every) * every
    horizon = float(evaluations * every)
    return np.minimum(steps, horizon), steps <= horizon


def clustered_regression(
    rng: np.random.Generator, runs: int = 10, rows: int = 60, slope: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(binary outcome, column, run) with run effects; the column varies within and between runs."""
    run = np.repeat(np.arange(runs), rows)
    x = rng.normal(size=runs * rows) + rng.normal(0, 0.5, runs)[run]
    logits = -0.3 + slope * x + rng.normal(0, 0.4, runs)[run]
    return (rng.random(logits.size) < 1 / (1 + np.exp(-logits))).astype(float), x, run
