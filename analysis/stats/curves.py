"""Area under a learning curve and time to a threshold that was fixed in advance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.types import DegenerateInput, finite_vector


def _curve(steps: ArrayLike, values: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = finite_vector(steps, "steps"), finite_vector(values, "curve")
    if x.size != y.size:
        raise DegenerateInput(f"{x.size} steps but {y.size} values")
    if (np.diff(x) <= 0).any():
        raise DegenerateInput("steps of a curve must rise strictly")
    return x, y


def area(steps: ArrayLike, values: ArrayLike) -> float:
    """Trapezoidal area under a curve divided by its length: the mean height, in the metric's unit.

    One point: its value. Arms are comparable only over the same steps.
    """
    x, y = _curve(steps, values)
    return float(y[0]) if x.size == 1 else float(np.trapezoid(y, x) / (x[-1] - x[0]))


@dataclass(frozen=True, slots=True)
class Reached:
    """Time to a threshold in steps; `reached` False: censored at `time`, the last step."""

    time: float
    reached: bool


def time_to_threshold(steps: ArrayLike, values: ArrayLike, threshold: float, sustained: int = 1) -> Reached:
    """First evaluated step from which the curve is ≥ threshold at `sustained` evaluations in a row.

    Evaluations are the resolution: nothing is interpolated. A run of good values cut off by the end of training and
    shorter than `sustained` does not count.
    """
    x, y = _curve(steps, values)
    if sustained < 1:
        raise DegenerateInput("sustained must be at least 1")
    above = y >= threshold
    if above.size >= sustained:
        windows = np.lib.stride_tricks.sliding_window_view(above, sustained).all(axis=1)
        if windows.any():
            return Reached(float(x[int(windows.argmax())]), True)
    return Reached(float(x[-1]), False)
