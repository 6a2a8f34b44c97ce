"""Contrasts of arms that differ in spread or shape, where the permutation test is no test of means.

Permuting seeds is exact for equal distributions. Of equal means it rejects too often where spreads differ (with equal
numbers of seeds studentizing changes nothing: the statistic is a function of the same sums), and where a few runs of
one arm collapse, which no test of a few seeds can see (`analysis.calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.permutation import (
    MAX_EXACT,
    count_rearrangements,
    smallest_p,
    subset_indicators,
)
from analysis.stats.types import DegenerateInput, Test, finite_vector

SD_RATIO = 1.5
"""Spreads differ from this ratio of standard deviations on: claims then need Welch's test too."""
OUTLYING = 5.0
"""A run lies apart beyond so many robust SDs from its arm's median: 1.4826 MAD, of its arm or of both, the larger."""
LEAST_SD = 1e-9
"""Values that differ by less are equal but for round-off."""
FEWEST_RUNS = 4
"""Arms with fewer runs show neither."""


@dataclass(frozen=True, slots=True)
class SpreadCheck:
    """SDs of the arms, runs of each that lie apart, and Welch's p where the spreads differ (None where they do not)."""

    sd_a: float
    sd_b: float
    apart_a: int
    apart_b: int
    welch_p: float | None

    @property
    def mixed(self) -> bool:
        """Whether a run lies apart from its arm."""
        return self.apart_a + self.apart_b > 0


EVEN_SPREAD = SpreadCheck(0.0, 0.0, 0, 0, None)
"""Nothing known against the exact test."""


def check_spread(a: ArrayLike, b: ArrayLike, paired: bool = False) -> SpreadCheck:
    """Compare the spread and shape of two arms' seed values. Small arms and arms without spread show no difference.

    `paired`: no Welch's p, as the differences of pairs are symmetric under equal means whatever the arms' spreads.
    """
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    sds = [float(v.std(ddof=1)) if v.size > 1 else 0.0 for v in (x, y)]
    if min(x.size, y.size) < FEWEST_RUNS or max(sds) < LEAST_SD:
        return SpreadCheck(sds[0], sds[1], 0, 0, None)
    apart_a, apart_b = _apart(x, y)
    differs = not paired and max(sds) >= SD_RATIO * min(sds)
    return SpreadCheck(sds[0], sds[1], apart_a, apart_b, welch_p(x, y) if differs else None)


def _apart(x: np.ndarray, y: np.ndarray) -> tuple[int, int]:
    residuals = [v - np.median(v) for v in (x, y)]
    together = _mad(np.concatenate(residuals))
    first, second = (int((np.abs(r) > OUTLYING * max(together, _mad(r))).sum()) if together else 0 for r in residuals)
    return first, second


def _mad(residuals: np.ndarray) -> float:
    return 1.4826 * float(np.median(np.abs(residuals)))


def welch_p(a: ArrayLike, b: ArrayLike) -> float:
    """p of Welch's t test of equal means. Raises DegenerateInput with fewer than two seeds, or without any spread."""
    x, y = finite_vector(a, "arm A", at_least=2), finite_vector(b, "arm B", at_least=2)
    u, v = (float(w.var(ddof=1)) / w.size for w in (x, y))
    if u + v <= LEAST_SD**2:
        raise DegenerateInput("no spread between seeds")
    df = (u + v) ** 2 / (u**2 / (x.size - 1) + v**2 / (y.size - 1))
    return float(2 * stats.t.sf(abs(x.mean() - y.mean()) / np.sqrt(u + v), df))


def studentized_permutation(a: ArrayLike, b: ArrayLike) -> Test:
    """Permutation test of Welch's statistic (Janssen 1997). With equal numbers of seeds it is `seed_permutation`.

    Enumerates all rearrangements; raises DegenerateInput beyond MAX_EXACT of them.
    """
    x, y = finite_vector(a, "arm A", at_least=2), finite_vector(b, "arm B", at_least=2)
    total = count_rearrangements(x.size, y.size, False)
    if total > MAX_EXACT:
        raise DegenerateInput(f"{total} rearrangements: not enumerated")
    pooled = np.concatenate([x, y])
    pooled = pooled - pooled.mean()
    chosen = subset_indicators(pooled.size, x.size)
    first, squares = chosen @ pooled, chosen @ pooled**2
    mean_a, mean_b = first / x.size, -first / y.size
    var_a = (squares - x.size * mean_a**2) / (x.size - 1)
    var_b = (float(pooled @ pooled) - squares - y.size * mean_b**2) / (y.size - 1)
    law = (mean_a - mean_b) / np.sqrt(np.maximum(var_a / x.size + var_b / y.size, 1e-30))
    t = law[0]  # the first subset is the observed one
    slack = 1e-9 * max(1.0, abs(float(t)))
    p = min(1.0, 2 * min(float((law >= t - slack).mean()), float((law <= t + slack).mean())))
    method = f"exact studentized permutation ({total} rearrangements)"
    return Test(float(x.mean() - y.mean()), p, method, smallest_p=smallest_p(x.size, y.size))
