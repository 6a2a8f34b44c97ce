"""Lagged rank correlation of two traces of a run against circular shifts, combined over seeds.

Values of a run are autocorrelated, so their number is no sample size. The null preserves the autocorrelation of each
trace and breaks only the alignment: one trace is rotated in time, independently in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import DegenerateInput, Test, finite_vector

MIN_LENGTH = 8
"""Shorter traces have too few rotations for a test."""


@dataclass(frozen=True, slots=True)
class LaggedCorrelation:
    """Mean Spearman's ρ over runs at each lag (x leads y by `lag` steps), and the test of the strongest.

    `test.p` is for max |ρ| over the lags, so that trying several lags costs nothing. `per_run` has shape [runs, lags].
    """

    lags: tuple[int, ...]
    mean: np.ndarray
    per_run: np.ndarray
    test: Test

    @property
    def strongest(self) -> tuple[int, float]:
        """(lag, mean ρ) where |mean ρ| is greatest."""
        i = int(np.abs(self.mean).argmax())
        return self.lags[i], float(self.mean[i])


def _rotations(x: np.ndarray, y: np.ndarray, lags: Sequence[int], difference: bool) -> np.ndarray:
    """ρ at every rotation of x (row 0: none) and every lag, shape [T, lags]. Ranks within the overlap of each lag.

    A rotation joins the end of x to its beginning; with `difference` it is the differences that are rotated.
    """
    if difference:
        x, y = np.diff(x), np.diff(y)
    n = x.size
    rotated = x[(np.arange(n)[None, :] - np.arange(n)[:, None]) % n]
    out = np.zeros((n, len(lags)))
    for j, lag in enumerate(lags):
        a, b = rotated[:, : n - lag], y[lag:]
        ra = stats.rankdata(a, axis=1)
        rb = stats.rankdata(b)
        ra -= ra.mean(axis=1, keepdims=True)
        rb -= rb.mean()
        norm = np.sqrt((ra**2).sum(axis=1) * (rb**2).sum())
        out[:, j] = np.divide(ra @ rb, norm, out=np.zeros(n), where=norm > 0)
    return out


def lagged_spearman(
    runs: Sequence[tuple[ArrayLike, ArrayLike]],
    lags: Sequence[int] = (0, 1, 2, 3),
    difference: bool = False,
    draws: int = 4999,
    seed: int = 0,
) -> LaggedCorrelation:
    """ρ(x_t, y_{t+lag}) of each run, averaged over runs, against independent rotations of x in every run.

    `difference` works on changes from step to step: two traces that merely both drift with training then no longer
    correlate (rotation alone does not remove a shared trend). Constant traces count as ρ = 0.
    Raises DegenerateInput for no run, unequal lengths or traces shorter than MIN_LENGTH + the largest lag.
    """
    if not runs:
        raise DegenerateInput("no run to correlate")
    if min(lags) < 0:
        raise DegenerateInput("lags count steps by which x leads: 0 or more")
    tables, flat = [], 0
    for i, (a, b) in enumerate(runs):
        x, y = finite_vector(a, f"run {i}, x"), finite_vector(b, f"run {i}, y")
        if x.size != y.size:
            raise DegenerateInput(f"run {i}: {x.size} and {y.size} values")
        if x.size < MIN_LENGTH + max(lags):
            raise DegenerateInput(f"run {i}: {x.size} steps; at least {MIN_LENGTH + max(lags)} needed")
        flat += np.ptp(x) == 0 or np.ptp(y) == 0
        tables.append(_rotations(x, y, lags, difference))
    per_run = np.stack([t[0] for t in tables])
    mean = per_run.mean(axis=0)
    what = "changes of " if difference else ""
    method = f"lagged Spearman of {what}traces, max over lags {min(lags)}–{max(lags)}, circular-shift null"
    if flat == len(runs):
        return LaggedCorrelation(
            tuple(lags), mean, per_run, Test(0.0, 1.0, method, note="a trace is constant in every run")
        )
    rng = np.random.default_rng(seed)
    picks = [t[rng.integers(0, t.shape[0], draws)] for t in tables]
    null = np.abs(np.mean(picks, axis=0)).max(axis=1)
    observed = float(np.abs(mean).max())
    p = (1 + int((null >= observed - 1e-12).sum())) / (draws + 1)
    least = max(1 / (draws + 1), float(np.prod([1 / t.shape[0] for t in tables])))
    note = f"{flat} of {len(runs)} runs have a constant trace (ρ = 0)" if flat else ""
    return LaggedCorrelation(tuple(lags), mean, per_run, Test(observed, p, method, smallest_p=least, note=note))
