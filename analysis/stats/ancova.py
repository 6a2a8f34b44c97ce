"""Difference of arms adjusted for a value that each run had before the arms parted (ANCOVA)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.permutation import MAX_EXACT, count_rearrangements, sign_rows, smallest_p, subset_indicators
from analysis.stats.student_law import StudentLaw
from analysis.stats.types import DegenerateInput, Estimate, Interval, Test, finite_vector

ANCOVA_DRAWS = 9_999


def adjusted_difference(
    a: ArrayLike,
    b: ArrayLike,
    covariate_a: ArrayLike,
    covariate_b: ArrayLike,
    paired: bool = False,
    level: float = 0.95,
    draws: int = ANCOVA_DRAWS,
) -> tuple[Estimate, Test]:
    """Difference of arms at an equal covariate, of values [n_a], [n_b] with the covariate of each run, such as the
    metric at the checkpoint that branched arms start from.

    Unpaired: treatment coefficient of value ~ treatment + covariate (one slope). Paired (position i of both is one
    checkpoint, whose covariate both share): intercept of difference ~ covariate − its mean, which is the mean
    difference with the spread that the covariate explains taken out. Interval: t. p: permutation of the studentized
    coefficient; (value, covariate) rows are permuted between arms, which is exact because the covariate precedes the
    assignment; paired, signs of differences are flipped. Beyond MAX_EXACT rearrangements `draws` random ones with a
    fixed stream. Raises DegenerateInput.
    """
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    u, v = finite_vector(covariate_a, "covariate of A"), finite_vector(covariate_b, "covariate of B")
    if x.size != u.size or y.size != v.size:
        raise DegenerateInput(f"{x.size} and {y.size} values, but {u.size} and {v.size} covariates")
    if paired and (x.size != y.size or not np.array_equal(u, v)):
        raise DegenerateInput("paired runs start from one checkpoint: their covariates are equal")
    return _paired(x - y, u, level, draws) if paired else _unpaired(x, y, np.concatenate([u, v]), level, draws)


def adjusted_pair_law(differences: ArrayLike, covariate: ArrayLike) -> StudentLaw:
    """t law of the mean difference of pairs, with the spread that a covariate explains taken out. Raises
    DegenerateInput for fewer than three pairs."""
    d, x = finite_vector(differences, "differences", at_least=3), finite_vector(covariate, "covariate", at_least=3)
    centred = x - x.mean()
    norm = float(centred @ centred)
    explained = float(d @ centred) ** 2 / norm if norm > 0 else 0.0
    residual = float(((d - d.mean()) ** 2).sum()) - explained
    return StudentLaw(float(d.mean()), math.sqrt(max(residual, 1e-30) / (d.size - 2) / d.size), d.size - 2)


def pair_variance(differences: ArrayLike, covariate: ArrayLike | None = None) -> tuple[float, int]:
    """(variance of pairs' differences, degrees of freedom): what is left where a covariate explains a part. NaN and 0
    with too few pairs."""
    d = finite_vector(differences, "differences", at_least=0)
    if covariate is None or not len(d):
        return (float(d.var(ddof=1)), d.size - 1) if d.size > 1 else (math.nan, 0)
    if d.size < 3:
        return math.nan, 0
    law = adjusted_pair_law(d, covariate)
    return law.error**2 * d.size, d.size - 2


def _unpaired(x: np.ndarray, y: np.ndarray, covariate: np.ndarray, level: float, draws: int) -> tuple[Estimate, Test]:
    n_a, n = x.size, x.size + y.size
    df = n - 3
    method = "permutation of the adjusted difference"
    if df < 1 or min(n_a, y.size) < 2:
        return _impossible(float(x.mean() - y.mean()), n, method, "too few runs for a covariate: no adjustment")
    total = count_rearrangements(n_a, y.size, False)
    if total <= MAX_EXACT:
        treated = subset_indicators(n, n_a)
    else:
        order = np.random.default_rng(0).random((draws, n)).argsort(axis=1)
        treated = (order < n_a).astype(np.float64)
    observed = np.concatenate([np.ones(n_a), np.zeros(y.size)])
    values = np.concatenate([x, y])
    basis = np.column_stack([np.ones(n), covariate])
    q = np.linalg.qr(basis)[0] if np.ptp(covariate) > 0 else np.full((n, 1), 1 / math.sqrt(n))
    # Frisch–Waugh: treatment and values without what intercept and covariate explain.
    rest = values - q @ (q.T @ values)

    def coefficients(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left = groups - (groups @ q) @ q.T
        power = np.maximum((left * left).sum(axis=1), 1e-30)
        slope = (left @ rest) / power
        residual = np.maximum(float(rest @ rest) - slope * slope * power, 0.0)
        return slope, np.sqrt(np.maximum(residual, 1e-30) / df / power)

    (value,), (error,) = coefficients(observed[None, :])
    if float(rest @ rest) <= 1e-30:
        return _impossible(float(value), n, method, "the covariate explains every value: no interval")
    slopes, errors = coefficients(treated)
    least = smallest_p(n_a, y.size)
    return _result(float(value), float(error), slopes / errors, total, df, n, method, level, least)


def _paired(d: np.ndarray, covariate: np.ndarray, level: float, draws: int) -> tuple[Estimate, Test]:
    n, df = d.size, d.size - 2
    method = "sign flips of the adjusted difference"
    if df < 1:
        return _impossible(float(d.mean()), n, method, "too few pairs for a covariate: no adjustment")
    total = count_rearrangements(n, n, True)
    signs = sign_rows(n) if total <= MAX_EXACT else np.random.default_rng(0).choice((-1.0, 1.0), (draws, n))
    centred = covariate - covariate.mean()
    norm = float(np.sqrt(centred @ centred))
    slope = centred / norm if norm > 0 else np.zeros(n)

    def errors(rows: np.ndarray) -> np.ndarray:
        residual = (rows**2).sum(axis=1) - n * rows.mean(axis=1) ** 2 - (rows @ slope) ** 2
        return np.sqrt(np.maximum(residual, 1e-30) / df / n)

    law_of_pairs = adjusted_pair_law(d, covariate)
    value, error = law_of_pairs.value, law_of_pairs.error
    if error <= 1e-14:
        return _impossible(value, n, method, "the covariate explains every difference: no interval")
    flipped = signs * d
    law = flipped.mean(axis=1) / errors(flipped)
    return _result(value, error, law, total, df, n, method, level, smallest_p(n, n, True))


def _result(
    value: float,
    error: float,
    law: np.ndarray,
    total: int,
    df: int,
    n: int,
    method: str,
    level: float,
    least: float,
) -> tuple[Estimate, Test]:
    t, exact = value / error, total <= MAX_EXACT
    slack = 1e-9 * max(1.0, abs(t))
    more = 0 if exact else 1  # a random sample counts the arrangement that was observed
    above, below = ((more + int(hits.sum())) / (more + law.size) for hits in (law >= t - slack, law <= t + slack))
    half = float(stats.t.ppf(0.5 + level / 2, df)) * error
    how = f"exact, {total} rearrangements" if exact else f"{law.size} random draws"
    return (
        Estimate(value, Interval(value - half, value + half, level, f"ANCOVA, t with {df} df"), n),
        Test(value, min(1.0, 2 * min(above, below)), f"{method} ({how})", smallest_p=least),
    )


def _impossible(value: float, n: int, method: str, note: str) -> tuple[Estimate, Test]:
    return Estimate(value, None, n, note), Test(value, None, method, note=note)
