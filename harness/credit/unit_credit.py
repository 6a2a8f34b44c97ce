"""Credit of Think-Action units from the values of the states between them, and how far it can be relied on. Pure.

The credit of unit k is A_k = V(state after it) - V(state before it); after the last unit stands the reward R itself.
So credits telescope: Σ A_k = R - V_0, whatever the values and their errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.credit.two_pass import StateValue, known_value

Z95 = 1.96
"""Half a 95 % interval in standard errors."""


@dataclass(frozen=True, slots=True)
class UnitCredit:
    """Credit of an episode's K units.

    `values` and `value_errors`, float64 [K + 1]: of the states before each unit, then the reward. `credit` and its
    standard `errors`, float64 [K]; `halves`, float64 [2, K]: the credit by each half of the forks alone.
    """

    values: np.ndarray
    value_errors: np.ndarray
    credit: np.ndarray
    errors: np.ndarray
    halves: np.ndarray


def unit_credit(states: Sequence[StateValue], reward: float) -> UnitCredit:
    """Credit of the units of an episode, from the values of the K states before them and its reward."""
    every = [*states, known_value(reward)]
    values, errors = np.array([s.value for s in every]), np.array([s.error for s in every])
    halves = np.array([s.halves for s in every]).T
    return UnitCredit(
        values, errors, np.diff(values), np.sqrt(errors[:-1] ** 2 + errors[1:] ** 2), np.diff(halves, axis=1)
    )


def reliability(credit: np.ndarray, errors: np.ndarray) -> float:
    """Share of the variance of credit over units, float64 [N], that is not noise of the forks: 1 - E[error²] / Var.

    NaN where credit does not vary.
    """
    variance = float(np.var(credit))
    return 1 - float(np.mean(errors**2)) / variance if variance > 0 else float("nan")


def split_half_reliability(halves: np.ndarray) -> float:
    """Reliability of credit by all forks from its correlation between two halves, float64 [2, N] (Spearman-Brown).

    NaN where a half does not vary.
    """
    if not np.ptp(halves, axis=1).all():
        return float("nan")
    r = float(np.corrcoef(halves)[0, 1])
    return 2 * r / (1 + r)


def credit_variance(credit: np.ndarray, errors: np.ndarray) -> float:
    """E[A²] over units, float64 [N], less what the noise of the forks adds to it."""
    return float(np.mean(credit**2 - errors**2))
