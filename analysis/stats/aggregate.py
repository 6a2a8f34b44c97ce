"""Aggregates over suites with whole seeds as units: a checkpoint's suites share its seed effect.

(rliable resamples runs independently per task, which is too narrow then; its point estimates are the same as these.
Percentile intervals of whole seeds are too narrow as well with few of them, see `analysis.calibration`.)
Score matrices have shape [seeds, suites].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import DegenerateInput, Estimate, Interval


def _scores(values: ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise DegenerateInput(f"{what}: a seeds × suites matrix is needed, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise DegenerateInput(f"{what}: {int((~np.isfinite(array)).sum())} scores are missing")
    return array


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean over all seeds and suites: the mean of the middle half."""
    ordered = np.sort(_scores(scores, "scores"), axis=None)
    cut = ordered.size // 4  # as scipy's trim_mean, without its overhead: resampling calls this thousands of times
    return float(ordered[cut : ordered.size - cut].mean())


def probability_of_improvement(a: ArrayLike, b: ArrayLike) -> float:
    """P(a seed of A beats a seed of B), ties one half, averaged over suites."""
    x, y = _scores(a, "arm A"), _scores(b, "arm B")
    if x.shape[1] != y.shape[1]:
        raise DegenerateInput(f"arms were scored on {x.shape[1]} and {y.shape[1]} suites")
    sign = np.sign(x[:, None, :] - y[None, :, :])
    return float((0.5 + 0.5 * sign).mean())


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray:
    """Share of (seed, suite) scores above each threshold, shape [T]."""
    flat = _scores(scores, "scores").ravel()
    return np.asarray((flat[None, :] > np.asarray(thresholds, dtype=np.float64)[:, None]).mean(axis=1))


def _seed_rows(n: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, n, size=(draws, n))


def bootstrap_seeds(
    arms: Sequence[ArrayLike],
    statistic: Callable[..., float],
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """`statistic(*arms)` with a percentile interval over whole-seed resamples of each arm.

    Fewer than two seeds in an arm: the value alone, with a note.
    """
    matrices = [_scores(a, f"arm {i}") for i, a in enumerate(arms)]
    value = statistic(*matrices)
    n = sum(m.shape[0] for m in matrices)
    if min(m.shape[0] for m in matrices) < 2:
        return Estimate(value, None, n, "one seed in an arm: no interval")
    rng = np.random.default_rng(seed)
    rows = [_seed_rows(m.shape[0], draws, rng) for m in matrices]
    values = [statistic(*(m[r[i]] for m, r in zip(matrices, rows, strict=True))) for i in range(draws)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    method = f"percentile bootstrap of whole seeds ({draws})"
    return Estimate(value, Interval(float(low), float(high), level, method), n)


def jackknife_seeds(arms: Sequence[ArrayLike], statistic: Callable[..., float], level: float = 0.95) -> Estimate:
    """`statistic(*arms)` with a t interval from leaving out one seed after the other (Tukey's jackknife).

    Variances are summed over arms, with Welch's degrees of freedom. Fewer than two seeds in an arm, or no spread (e.g.
    every seed of A beats every one of B): the value with a note and no interval.
    """
    matrices = [_scores(a, f"arm {i}") for i, a in enumerate(arms)]
    value = statistic(*matrices)
    n = sum(m.shape[0] for m in matrices)
    if min(m.shape[0] for m in matrices) < 2:
        return Estimate(value, None, n, "one seed in an arm: no interval")
    parts = []
    for k, m in enumerate(matrices):
        left = [statistic(*matrices[:k], np.delete(m, i, axis=0), *matrices[k + 1 :]) for i in range(m.shape[0])]
        parts.append((float(np.var(left)) * (m.shape[0] - 1), m.shape[0] - 1))
    variance = sum(v for v, _ in parts)
    method = "t of the jackknife over whole seeds"
    if variance <= 1e-30:
        return Estimate(value, None, n, "no spread between seeds: no interval")
    df = variance**2 / sum(v**2 / d for v, d in parts)
    half = float(stats.t.ppf(0.5 + level / 2, df)) * float(np.sqrt(variance))
    return Estimate(value, Interval(value - half, value + half, level, method), n)


def profile_band(
    scores: ArrayLike, thresholds: ArrayLike, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Performance profile with a pointwise t interval over seeds, cut to [0, 1]: (profile, low, high), each [T].

    One seed: the band is the profile itself.
    """
    matrix = _scores(scores, "scores")
    grid = np.asarray(thresholds, dtype=np.float64)
    above = (matrix[:, :, None] > grid).mean(axis=1)  # [seeds, T]
    share, n = above.mean(axis=0), matrix.shape[0]
    half = stats.t.ppf(0.5 + level / 2, n - 1) * above.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else 0.0
    return share, np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)


def seed_question_bootstrap(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> Estimate:
    """mean(a) − mean(b) of [S, Q] matrices, seeds of each arm and shared questions resampled together.

    Support only: the percentile interval of few seeds is too narrow in places and too wide in others (see calibrate).
    """
    x, y = _scores(a, "arm A"), _scores(b, "arm B")
    if x.shape[1] != y.shape[1]:
        raise DegenerateInput(f"arms answered {x.shape[1]} and {y.shape[1]} questions: not the same set")
    value = float(x.mean() - y.mean())
    n = x.shape[0] + y.shape[0]
    if min(x.shape[0], y.shape[0]) < 2:
        return Estimate(value, None, n, "one seed in an arm: no interval")
    rng = np.random.default_rng(seed)
    rows = [rng.multinomial(m.shape[0], np.full(m.shape[0], 1 / m.shape[0]), draws) / m.shape[0] for m in (x, y)]
    columns = rng.multinomial(x.shape[1], np.full(x.shape[1], 1 / x.shape[1]), draws) / x.shape[1]
    values = ((rows[0] @ x - rows[1] @ y) * columns).sum(axis=1)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    method = f"percentile bootstrap of seeds and questions ({draws})"
    return Estimate(value, Interval(float(low), float(high), level, method), n)
