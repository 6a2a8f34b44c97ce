"""Mixture of two normal states, such as runs that have and have not found a strategy, and when it deserves the name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import finite_vector

FEWEST_VALUES = 12
LEAST_SHARE = 0.05
VALLEY = 0.5
"""Two states are named where the density falls between their peaks to at most this share of the lower peak."""
BIC_MARGIN = 10.0
"""And where two normal laws beat one by this much in BIC ("very strong", Kass and Raftery 1995)."""
_ROUNDS = 500


@dataclass(frozen=True, slots=True)
class TwoStates:
    """Means and SDs of the lower and the upper state, the share of values in the upper one, and the value between them
    at which the fitted density is least: a value above it counts as upper."""

    low: float
    high: float
    sd_low: float
    sd_high: float
    share_high: float
    threshold: float


def fit_two_states(values: ArrayLike) -> TwoStates | None:
    """Two normal states by expectation–maximisation; None where one state describes the values as well.

    Fewer than FEWEST_VALUES values, a state with less than LEAST_SHARE of them or on a single value, no clear valley
    between the peaks, or a BIC within BIC_MARGIN of one normal law give None. Deterministic.
    """
    x = np.sort(finite_vector(values, "values"))
    if x.size < FEWEST_VALUES or np.ptp(x) == 0:
        return None
    best = max((_fit(x, start) for start in (0.15, 0.3, 0.5, 0.7, 0.85)), key=lambda fit: fit[0])
    likelihood, weight, means, sds = best
    single = float(stats.norm.logpdf(x, x.mean(), x.std()).sum())
    bic_gain = 2 * (likelihood - single) - 3 * float(np.log(x.size))
    if min(weight) < LEAST_SHARE or bic_gain < BIC_MARGIN or min(sds) <= _floor(x):
        return None
    grid = np.linspace(means[0], means[1], 401)
    density = sum(w * stats.norm.pdf(grid, m, s) for w, m, s in zip(weight, means, sds, strict=True))
    at = int(np.argmin(density))
    if density[at] > VALLEY * min(density[0], density[-1]):
        return None
    return TwoStates(*map(float, (*means, *sds, weight[1], grid[at])))


def _floor(x: np.ndarray) -> float:
    """Least SD of a state: on a single value the likelihood has no bound. A state at it is no spread of values."""
    return max(1e-6, 0.02 * float(x.std()))


def _fit(x: np.ndarray, start: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """(log-likelihood, shares, means, SDs), means rising, from a split at the quantile `start`."""
    floor = _floor(x)
    upper = (x > np.quantile(x, start)).astype(np.float64)
    share = np.array([1 - upper.mean(), upper.mean()]).clip(1e-3)
    belongs = np.stack([1 - upper, upper])
    previous = -np.inf
    for _ in range(_ROUNDS):
        mass = np.maximum(belongs.sum(axis=1), 1e-9)
        share, means = mass / x.size, belongs @ x / mass
        sds = np.sqrt(np.maximum((belongs * (x - means[:, None]) ** 2).sum(axis=1) / mass, floor**2))
        joint = share[:, None] * stats.norm.pdf(x, means[:, None], sds[:, None])
        total = np.maximum(joint.sum(axis=0), 1e-300)
        likelihood = float(np.log(total).sum())
        belongs = joint / total
        if likelihood - previous < 1e-8 * abs(likelihood):
            break
        previous = likelihood
    order = np.argsort(means)
    return likelihood, share[order], means[order], sds[order]
