"""Result types of statistics. A number that cannot be computed is None with the reason in `note`, never NaN."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

ALGORITHM = "algorithm"
"""Claim about training algorithms: seeds are the units."""
CHECKPOINT = "checkpoint"
"""Claim about two fixed checkpoints: questions are the units; it does not extend to other seeds."""


class DegenerateInput(ValueError):
    """The data do not permit the statistic (no observation, unequal question sets, values not finite)."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Closed confidence interval [low, high] at `level` (e.g. .95) by `method`. Ends may be infinite, never NaN."""

    low: float
    high: float
    level: float
    method: str

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high):
            raise DegenerateInput(f"{self.method}: an end of the interval is NaN")

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)

    def within(self, low: float, high: float) -> Interval:
        """The interval clipped to the range [low, high] of the quantity."""
        return replace(self, low=min(max(self.low, low), high), high=min(max(self.high, low), high))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A point estimate with its interval. `n` is the number of independent units behind the interval."""

    value: float | None
    interval: Interval | None
    n: int
    note: str = ""

    def within(self, possible: tuple[float, float] | None) -> Estimate:
        """The estimate with its interval clipped to the range `possible` (None: unbounded)."""
        if possible is None or self.interval is None:
            return self
        return replace(self, interval=self.interval.within(*possible))


@dataclass(frozen=True, slots=True)
class Test:
    """A two-sided test. `smallest_p` is the least p the design can give (None: continuous).

    `interval`: of the statistic, where the test is whether it lies within bounds (TOST)."""

    __test__ = False  # not a pytest class

    statistic: float | None
    p: float | None
    method: str
    claim: str = ALGORITHM
    smallest_p: float | None = None
    note: str = ""
    interval: Interval | None = None

    def rejects(self, alpha: float) -> bool:
        """p ≤ α; a test that could not be made never rejects."""
        return self.p is not None and self.p <= alpha


def finite_vector(values: ArrayLike, what: str, at_least: int = 1) -> np.ndarray:
    """float64 vector of `values`; raises DegenerateInput when too short or not finite."""
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size < at_least:
        raise DegenerateInput(f"{what}: {array.size} value(s), at least {at_least} needed")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise DegenerateInput(f"{what}: {bad} of {array.size} values are missing or infinite")
    return array
