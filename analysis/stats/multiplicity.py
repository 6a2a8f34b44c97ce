"""Corrections for multiple tests, and equivalence tests (TOST)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW, ttost_ind, ttost_paired

from analysis.stats.types import DegenerateInput, Interval, Test, finite_vector


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p-values in the order given. A missing p (None) stays None and counts as no hypothesis."""
    known = [i for i, p in enumerate(p_values) if p is not None]
    if not known:
        return [None] * len(p_values)
    values = finite_vector([p for p in p_values if p is not None], "p-values")
    if ((values < 0) | (values > 1)).any():
        raise DegenerateInput("a p-value is outside [0, 1]")
    # Not statsmodels' multipletests: it runs a full garbage collection on every call.
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1)))
    out: list[float | None] = [None] * len(p_values)
    for i, p in zip(known, adjusted, strict=True):
        out[i] = float(p)
    return out


CORRECTIONS: dict[str, Callable[[Sequence[float | None]], list[float | None]]] = {"holm": holm, "none": list}
"""Corrections a pre-registration may name."""


def tost(a: ArrayLike, b: ArrayLike, margin: float, paired: bool = False, alpha: float = 0.05) -> Test:
    """Two one-sided t tests on seed means (Welch's where not paired): a small p supports |mean(a) − mean(b)| < margin.

    The interval has level 1 − 2 alpha: it lies within the margin exactly where p < alpha.
    Margin in the metric's unit, > 0. With fewer than two seeds an arm, or no spread at all, p is None with a note.
    """
    if margin <= 0:
        raise DegenerateInput(f"equivalence margin must be positive, got {margin}")
    x, y = finite_vector(a, "arm A"), finite_vector(b, "arm B")
    if paired and x.size != y.size:
        raise DegenerateInput(f"paired seeds, but {x.size} in one arm and {y.size} in the other")
    method = f"TOST on {'paired ' if paired else ''}seed means, margin ±{margin:g}"
    difference = float(x.mean() - y.mean())
    if min(x.size, y.size) < 2:
        return Test(difference, None, method, note="one seed in an arm: equivalence cannot be tested")
    flat = np.ptp(x - y) == 0 if paired else np.ptp(x) == 0 and np.ptp(y) == 0
    if flat:
        return Test(difference, None, method, note="no spread between seeds: no standard error")
    if paired:
        p = ttost_paired(x, y, -margin, margin)[0]
        low, high = DescrStatsW(x - y).tconfint_mean(2 * alpha)
    else:
        p = ttost_ind(x, y, -margin, margin, usevar="unequal")[0]
        low, high = CompareMeans(DescrStatsW(x), DescrStatsW(y)).tconfint_diff(2 * alpha, usevar="unequal")
    return Test(difference, float(p), method, interval=Interval(float(low), float(high), 1 - 2 * alpha, "t"))
