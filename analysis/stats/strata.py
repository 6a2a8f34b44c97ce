"""Means over strata (suites) that weigh the same whatever their size, of scores in [0, 1] such as EM or F1.

A claim about one checkpoint on these questions: the units are questions (Miller 2024), not seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import CHECKPOINT, DegenerateInput, Estimate, Interval, Test, finite_vector


def stratified_mean(
    values: ArrayLike, strata: Sequence[object], clusters: Sequence[object] | None = None, level: float = 0.95
) -> Estimate:
    """Unweighted mean over strata of their mean scores, with Wilson's interval at the effective number of questions.

    The standard error is that of the strata's means, clustered (several samples of one question); the effective number
    n' is that at which p(1 − p)/n' equals its square. One stratum of 0/1 scores gives Wilson's interval; without any
    spread every cluster counts as one question. Raises DegenerateInput for a score outside [0, 1].
    """
    x = finite_vector(values, "scores")
    if (x < 0).any() or (x > 1).any():
        raise DegenerateInput("scores have to lie in [0, 1]")
    groups = _groups(strata, x.size)
    units = np.arange(x.size) if clusters is None else _labels(clusters, x.size)
    mean, variance = 0.0, 0.0
    for members in groups:
        part, labels = x[members], np.unique(units[members], return_inverse=True)[1]
        sums = np.bincount(labels, weights=part - part.mean())
        repeated = sums.size < part.size
        correction = sums.size / (sums.size - 1) if repeated and sums.size > 1 else 1.0
        mean += float(part.mean()) / len(groups)
        variance += float((sums**2).sum()) * correction / part.size**2 / len(groups) ** 2
    n = int(np.unique(units).size)
    spread = mean * (1 - mean)
    effective = spread / variance if variance > 1e-15 and spread > 0 else float(n)
    low, high = _wilson(mean, effective, level)
    return Estimate(mean, Interval(low, high, level, f"Wilson at {effective:.0f} effective questions"), n)


def stratified_difference(
    a: ArrayLike, b: ArrayLike, strata: Sequence[object], level: float = 0.95
) -> tuple[Estimate, Test]:
    """Unweighted mean over strata of the mean difference of two answerers on the same questions, normal interval.

    Scores in [0, 1] of shape [Q] in the same question order. A stratum of one question has no spread of its own: its
    variance is taken as that of all differences. Where all differences are equal there is no spread at all: the
    interval is then Tango's score interval (1998), which for n questions without a discordant pair is
    ±z²/(n + z²), at the effective number n' = 1 / Σ w²/n of strata that weigh the same.
    """
    x, y = finite_vector(a, "A", at_least=2), finite_vector(b, "B", at_least=2)
    if x.size != y.size:
        raise DegenerateInput(f"A answered {x.size} questions and B {y.size}: not the same set")
    d = x - y
    groups = _groups(strata, d.size)
    overall = float(d.var(ddof=1))
    mean = float(np.mean([d[m].mean() for m in groups]))
    variance = sum((float(d[m].var(ddof=1)) if m.size > 1 else overall) / m.size for m in groups) / len(groups) ** 2
    method = "paired questions within suites, z (checkpoint claim)"
    if variance <= 1e-15:
        note = "all differences equal: score interval in place of a normal one"
        effective = len(groups) ** 2 / sum(1 / m.size for m in groups)
        interval = _without_spread(mean, effective, level)
        p = 1.0 if mean == 0 else None
        return Estimate(mean, interval, d.size, note), Test(None, p, method, CHECKPOINT, note=note)
    se = math.sqrt(variance)
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    p = float(2 * stats.norm.sf(abs(mean) / se))
    interval = Interval(mean - half, mean + half, level, method)
    return Estimate(mean, interval, d.size), Test(mean / se, p, method, CHECKPOINT)


def _without_spread(difference: float, n: float, level: float) -> Interval:
    """What `n` equal differences leave possible: a share of up to z²/(n + z²) of other questions, where they differ by
    anything from −1 to 1. Tango's interval at a difference of −1, 0 and 1."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    others = z * z / (n + z * z)
    same = (1 - others) * difference
    method = f"Tango's score at {n:.0f} effective questions (checkpoint claim)"
    return Interval(same - others, same + others, level, method).within(-1.0, 1.0)


def _labels(values: Sequence[object], size: int) -> np.ndarray:
    if len(values) != size:
        raise DegenerateInput(f"{size} scores but {len(values)} labels")
    return np.unique(np.asarray([str(v) for v in values]), return_inverse=True)[1]


def _groups(strata: Sequence[object], size: int) -> list[np.ndarray]:
    labels = _labels(strata, size)
    return [np.flatnonzero(labels == k) for k in range(int(labels.max()) + 1)]


def _wilson(p: float, n: float, level: float) -> tuple[float, float]:
    """Wilson's score interval (1927) at a share `p` of `n` trials, both possibly fractional."""
    z = float(stats.norm.ppf(0.5 + level / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
