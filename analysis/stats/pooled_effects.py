"""Main effects of factorial designs, pooled over the cells of the other factors, and interactions.

A cell is one combination of the other factors; it holds the values of the two compared levels, one a seed. Cells weigh
the same whatever their seeds, so that a large cell's own level does not enter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.permutation import (
    MAX_EXACT,
    best_interval,
    count_rearrangements,
    difference_interval,
    seed_permutation,
    subset_indicators,
)
from analysis.stats.types import DegenerateInput, Estimate, Interval, Test, finite_vector

Cell = tuple[ArrayLike, ArrayLike]
"""Values of the two levels in one cell, one a seed."""

STRATIFIED_DRAWS = 9_999


def main_effect(
    cells: Sequence[Cell], paired: bool = False, level: float = 0.95, draws: int = STRATIFIED_DRAWS
) -> tuple[Estimate, Test]:
    """Mean over cells of mean(a) − mean(b), with the permutation test within cells and a t interval.

    Unpaired: values are permuted between the levels within each cell, independently of the other cells; exact up to
    MAX_EXACT rearrangements, else `draws` random ones with a fixed stream. Interval: t with Satterthwaite's degrees of
    freedom. Paired: position i is the same seed in every cell, whose runs may be alike, so the signs of a seed's mean
    over cells are flipped. Raises DegenerateInput.
    """
    arrays = _arrays(cells, paired)
    if paired:
        x, y = (np.mean([pair[i] for pair in arrays], axis=0) for i in (0, 1))
        return best_interval(x, y, True, level), seed_permutation(x, y, paired=True)
    return _satterthwaite(arrays, [1 / len(arrays)] * len(arrays), level), _stratified(arrays, draws)


def interaction(high: Cell, low: Cell, paired: bool = False, level: float = 0.95) -> tuple[Estimate, Test]:
    """Effect in one cell minus effect in another, (a − b in `high`) − (a − b in `low`), with its t interval.

    Paired: of the seeds' own double differences, tested by sign flips. Unpaired: t with Satterthwaite's degrees of
    freedom, tested by the same t (no permutation of single runs leaves main effects alone).
    """
    arrays = _arrays([high, low], paired)
    if paired:
        (a1, b1), (a0, b0) = arrays
        return difference_interval(a1 - b1, a0 - b0, True, level), seed_permutation(a1 - b1, a0 - b0, paired=True)
    found = _satterthwaite(arrays, [1.0, -1.0], level)
    method = "t of the double difference, Satterthwaite"
    if found.interval is None or found.value is None:
        return found, Test(found.value, None, method, note=found.note)
    se, df = _error(arrays, [1.0, -1.0])
    return found, Test(found.value, float(2 * stats.t.sf(abs(found.value) / se, df)), method)


def _arrays(cells: Sequence[Cell], paired: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    if not cells:
        raise DegenerateInput("no cell holds both levels")
    arrays = [(finite_vector(a, "level A"), finite_vector(b, "level B")) for a, b in cells]
    if paired and len({v.size for pair in arrays for v in pair}) > 1:
        raise DegenerateInput("paired seeds, but cells have different numbers of them")
    return arrays


def _error(arrays: Sequence[tuple[np.ndarray, np.ndarray]], weights: Sequence[float]) -> tuple[float, float]:
    """(standard error, degrees of freedom) of Σ w (mean a − mean b); (0, 0) without spread or with single runs."""
    if min(v.size for pair in arrays for v in pair) < 2:
        return 0.0, 0.0
    parts = [
        (w * w * float(v.var(ddof=1)) / v.size, v.size - 1)
        for w, pair in zip(weights, arrays, strict=True)
        for v in pair
    ]
    variance = sum(p for p, _ in parts)
    if variance <= 0:
        return 0.0, 0.0
    return math.sqrt(variance), variance**2 / sum(p * p / df for p, df in parts)


def _satterthwaite(arrays: Sequence[tuple[np.ndarray, np.ndarray]], weights: Sequence[float], level: float) -> Estimate:
    value = sum(w * float(a.mean() - b.mean()) for w, (a, b) in zip(weights, arrays, strict=True))
    n = sum(v.size for pair in arrays for v in pair)
    se, df = _error(arrays, weights)
    if se == 0:
        return Estimate(value, None, n, "one seed in a cell, or no spread: no interval")
    half = float(stats.t.ppf(0.5 + level / 2, df)) * se
    return Estimate(value, Interval(value - half, value + half, level, "t over cells, Satterthwaite"), n)


def _stratified(arrays: Sequence[tuple[np.ndarray, np.ndarray]], draws: int) -> Test:
    total = math.prod(count_rearrangements(a.size, b.size, False) for a, b in arrays)
    observed = sum(float(a.mean() - b.mean()) for a, b in arrays)
    slack = 1e-12 * sum(float(np.abs(v).sum()) for pair in arrays for v in pair)
    exact = total <= MAX_EXACT
    if exact:
        sums = np.zeros(1)
        for a, b in arrays:
            sums = np.add.outer(sums, _rearranged(a, b)).ravel()
        above, below = float((sums >= observed - slack).mean()), float((sums <= observed + slack).mean())
    else:
        rng = np.random.default_rng(0)
        sums = np.zeros(draws)
        for a, b in arrays:
            order = rng.random((draws, a.size + b.size)).argsort(axis=1)
            drawn = np.concatenate([a, b])[order]
            sums += drawn[:, : a.size].mean(axis=1) - drawn[:, a.size :].mean(axis=1)
        above, below = (
            (1 + int(hits.sum())) / (1 + draws) for hits in (sums >= observed - slack, sums <= observed + slack)
        )
    how = f"{total} rearrangements" if exact else f"{draws} random draws"
    method = f"{'exact ' if exact else ''}permutation within {len(arrays)} cells ({how})"
    return Test(observed / len(arrays), min(1.0, 2 * min(above, below)), method, smallest_p=min(1.0, 2 / total))


def _rearranged(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """mean(first) − mean(second) of every split of a cell's values into groups of these sizes."""
    pooled = np.concatenate([a, b])
    first = subset_indicators(pooled.size, a.size) @ pooled
    return np.asarray(first / a.size - (pooled.sum() - first) / b.size)
