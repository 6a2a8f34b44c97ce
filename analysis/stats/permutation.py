"""Exact permutation tests on seed means, and the intervals that invert them.

Units are seeds: one number a seed and arm (e.g. its EM over the fixed question set). The statistic is the difference
of means; two-sided p = 2·min(one-sided), as in `scipy.stats.permutation_test`, so that the interval (two one-sided
inversions at α/2) and the test always agree. Small designs are enumerated here from cached subset matrices, as scipy
does it but some 30 times faster (simulations need that); large ones are drawn by scipy.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import chain, combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import DegenerateInput, Estimate, Interval, Test, finite_vector

MAX_EXACT = 200_000
"""Above so many rearrangements (10 v 10 has 184,756) the test draws a fixed random sample of them."""
MOST_PAIRS = 32
"""Up to so many pairs the paired test counts all 2^n sign flips from the sums of two halves, without listing them."""
_DRAWS = 99_999
NO_SPREAD = "no spread between seeds: no interval"


def count_rearrangements(n_a: int, n_b: int, paired: bool) -> int:
    """How many equally likely rearrangements the null hypothesis has: 2^n sign flips, or (n_a+n_b choose n_a)."""
    return 2**n_a if paired else math.comb(n_a + n_b, n_a)


def smallest_p(n_a: int, n_b: int, paired: bool = False) -> float:
    """Least two-sided p that the exact test can reach with these seed counts (1.0 when it cannot reject)."""
    if min(n_a, n_b) < 1:
        raise DegenerateInput(f"a contrast needs at least one seed an arm, got {n_a} and {n_b}")
    if paired and n_a != n_b:
        raise DegenerateInput(f"paired seeds, but {n_a} in one arm and {n_b} in the other")
    return min(1.0, 2 / count_rearrangements(n_a, n_b, paired))  # integers: a float overflows beyond 500 seeds


def _difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


def seed_permutation(a: ArrayLike, b: ArrayLike, paired: bool = False) -> Test:
    """Test that arms `a` and `b` (seed means, shapes [n_a], [n_b]) have the same distribution.

    Paired: position i of both is the same seed, signs are flipped. Statistic: mean(a) − mean(b).
    Exact up to MAX_EXACT rearrangements, or MOST_PAIRS pairs; beyond, a fixed-seed sample of them. Raises
    DegenerateInput.
    """
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    least = smallest_p(x.size, y.size, paired)
    total = count_rearrangements(x.size, y.size, paired)
    kind = f"{'paired' if paired else 'unpaired'} seed permutation"
    exact = total <= MAX_EXACT or (paired and x.size <= MOST_PAIRS)
    method = f"exact {kind} ({total} rearrangements)" if exact else f"{kind} ({_DRAWS} random draws)"
    difference = float(x.mean() - y.mean())
    if (x.size == 1 and y.size == 1) or (paired and x.size == 1):
        return Test(difference, 1.0, method, smallest_p=1.0, note="one seed an arm: no evidence about the algorithm")
    if np.ptp(x - y if paired else np.concatenate([x, y])) == 0 and (not paired or x[0] == y[0]):
        return Test(0.0, 1.0, method, smallest_p=least, note="all values equal")
    if exact:
        p = _exact_p(x, y, paired) if total <= MAX_EXACT else sign_flip_p(x - y)
        return Test(difference, p, method, smallest_p=least)
    result = stats.permutation_test(
        (x, y),
        _difference,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=_DRAWS,
        rng=np.random.default_rng(0),
    )
    return Test(difference, float(result.pvalue), method, smallest_p=least)


def _exact_p(x: np.ndarray, y: np.ndarray, paired: bool) -> float:
    """2·min(one-sided) over all rearrangements; sums that differ by round-off alone count as ties."""
    if paired:
        d = x - y
        sums, observed = sign_rows(d.size) @ d, float(d.sum())
        slack = 1e-12 * float(np.abs(d).sum())
    else:
        pooled = np.concatenate([x, y])
        pooled -= pooled.mean()
        sums, observed = subset_indicators(pooled.size, x.size) @ pooled, float(pooled[: x.size].sum())
        slack = 1e-12 * float(np.abs(pooled).sum())
    above, below = float((sums >= observed - slack).mean()), float((sums <= observed + slack).mean())
    return min(1.0, 2 * min(above, below))


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p, 2·min(one-sided), over all 2^n sign flips of `differences` [n]; time and memory grow as 2^(n/2).

    A flip's sum is one of 2^(n/2) sums of the first half plus one of the second; a binary search in the sorted second
    half counts, for each of the first, the sums that reach the observed one. Sums that differ by round-off alone count
    as ties.
    """
    d = finite_vector(differences, "paired differences")
    half = d.size // 2
    first, second = sign_rows(half) @ d[:half], np.sort(sign_rows(d.size - half) @ d[half:])
    observed, slack = float(d.sum()), 1e-12 * float(np.abs(d).sum())
    above = first.size * second.size - int(np.searchsorted(second, observed - slack - first, "left").sum())
    below = int(np.searchsorted(second, observed + slack - first, "right").sum())
    return min(1.0, 2 * min(above, below) / 2**d.size)


@lru_cache(maxsize=32)
def sign_rows(n: int) -> np.ndarray:
    """All 2^n rows of signs, shape [2^n, n]."""
    bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
    return 1.0 - 2.0 * bits


@lru_cache(maxsize=32)
def subset_indicators(n: int, k: int) -> np.ndarray:
    """0/1 indicator rows of all k-subsets of n, shape [C(n,k), n]."""
    count = math.comb(n, k)
    chosen = np.fromiter(chain.from_iterable(combinations(range(n), k)), dtype=np.intp, count=count * k)
    rows = np.zeros((count, n), dtype=np.float64)
    rows[np.repeat(np.arange(count), k), chosen] = 1.0
    return rows


def _shift_thresholds(x: np.ndarray, y: np.ndarray, paired: bool) -> np.ndarray:
    """For each rearrangement but the identity, the shift δ from which on it is at least as extreme as the data.

    Paired: the mean of the flipped differences. Unpaired, k values swapped: mean(swapped a) − mean(swapped b).
    """
    if paired:
        d = x - y
        return np.concatenate([subset_indicators(d.size, k) @ d / k for k in range(1, d.size + 1)])
    parts = [
        (subset_indicators(x.size, k) @ x / k)[:, None] - (subset_indicators(y.size, k) @ y / k)[None, :]
        for k in range(1, min(x.size, y.size) + 1)
    ]
    return np.concatenate([p.ravel() for p in parts])


def permutation_interval(a: ArrayLike, b: ArrayLike, paired: bool = False, level: float = 0.95) -> Estimate:
    """mean(a) − mean(b) with the exact interval of shifts that `seed_permutation` does not reject at 1 − level.

    Without spread between the seeds of each arm there is no interval, and a note. When the design's smallest p exceeds
    1 − level no shift can be rejected: the interval is None, with a note. Beyond MAX_EXACT rearrangements it is None
    too (a t interval is then as good).
    """
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    difference = float(x.mean() - y.mean())
    least = smallest_p(x.size, y.size, paired)
    n = x.size if paired else x.size + y.size
    alpha = 1.0 - level
    total = count_rearrangements(x.size, y.size, paired)
    if total > MAX_EXACT:
        return Estimate(difference, None, n, f"{total} rearrangements: not enumerated")
    # Round-off guard: α·N/2 that is an integer but for the last bit must count as that integer.
    rank = math.floor(total * alpha / 2 + 1e-9)
    if rank < 1:
        return Estimate(difference, None, n, f"no {level:.0%} interval: smallest attainable p is {least:.3g}")
    if np.ptp(x - y if paired else x) == 0 and (paired or np.ptp(y) == 0):
        return Estimate(difference, None, n, NO_SPREAD)
    thresholds = np.sort(_shift_thresholds(x, y, paired))
    low, high = float(thresholds[rank - 1]), float(thresholds[-rank])
    return Estimate(difference, Interval(low, high, level, "inversion of the exact seed permutation test"), n)


def mean_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean over seeds with Student's t interval (n − 1 df). One seed, or all alike: the value, no interval, and a note.

    (A zero-width interval would claim certainty from the least information.)
    """
    x = finite_vector(values, "seed means")
    if x.size == 1:
        return Estimate(float(x[0]), None, 1, "one seed: no interval")
    mean = float(x.mean())
    if np.ptp(x) == 0:
        return Estimate(mean, None, x.size, "all seeds equal: no interval")
    half = float(stats.t.ppf(0.5 + level / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
    return Estimate(mean, Interval(mean - half, mean + half, level, "t on seed means"), x.size)


def difference_interval(a: ArrayLike, b: ArrayLike, paired: bool = False, level: float = 0.95) -> Estimate:
    """mean(a) − mean(b) with a t interval: of the differences when paired, else Welch's. `note` when impossible."""
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    if paired:
        if x.size != y.size:
            raise DegenerateInput(f"paired seeds, but {x.size} in one arm and {y.size} in the other")
        inner = mean_interval(x - y, level)
        interval = inner.interval and Interval(inner.interval.low, inner.interval.high, level, "t on paired seed means")
        return Estimate(inner.value, interval, inner.n, inner.note)
    difference = float(x.mean() - y.mean())
    n = x.size + y.size
    if min(x.size, y.size) < 2:
        return Estimate(difference, None, n, "one seed in an arm: no interval")
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        return Estimate(difference, None, n, NO_SPREAD)
    vx, vy = float(x.var(ddof=1)) / x.size, float(y.var(ddof=1)) / y.size
    df = (vx + vy) ** 2 / (vx**2 / (x.size - 1) + vy**2 / (y.size - 1))
    half = float(stats.t.ppf(0.5 + level / 2, df)) * math.sqrt(vx + vy)
    return Estimate(difference, Interval(difference - half, difference + half, level, "Welch t on seed means"), n)


def best_interval(a: ArrayLike, b: ArrayLike, paired: bool = False, level: float = 0.95) -> Estimate:
    """Exact inversion where the design permits it, else the t interval; `method` of the interval names which."""
    exact = permutation_interval(a, b, paired, level)
    return exact if exact.interval is not None else difference_interval(a, b, paired, level)
