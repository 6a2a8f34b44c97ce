"""Credit of units: telescoping, and its reliability against a chain of three states whose values are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.credit.two_pass import StateValue, known_value, two_pass_values
from harness.credit.unit_credit import credit_variance, reliability, split_half_reliability, unit_credit

REWARDS = st.floats(-2, 2)


@given(st.lists(st.tuples(REWARDS, st.floats(0, 1), REWARDS, REWARDS), min_size=1, max_size=6), REWARDS)
def test_credit_telescopes_from_the_first_value_to_the_reward(
    states: list[tuple[float, float, float, float]], reward: float
) -> None:
    made = unit_credit([StateValue(v, e, (a, b), 8) for v, e, a, b in states], reward)
    assert made.credit.sum() == pytest.approx(reward - states[0][0], abs=1e-12)
    for half in (0, 1):
        assert made.halves[half].sum() == pytest.approx(reward - states[0][2 + half], abs=1e-12)
    assert made.values[-1] == reward
    assert made.value_errors[-1] == 0
    assert len(made.credit) == len(made.errors) == len(states)


# The toy: a search finds (.5) or misses, and is followed by an answer, right with chance .8 or .1. Three states.
FOUND, MISSED = 0.8, 0.1
TRUE = (0.5 * FOUND + 0.5 * MISSED, FOUND, MISSED)


def toy_credit(forks: int, seed: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(credit, errors, halves, true credit) of each of 400 episodes by forks of the three states."""
    rng = np.random.default_rng(seed)

    def draw(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
        return rng.random(len(pairs)) < np.array(TRUE)[[state for state, _ in pairs]]

    values = two_pass_values(draw, [400, 200, 200], forks)
    made = []
    for _ in range(400):
        state = 1 + int(rng.random() < 0.5)
        reward = float(rng.random() < TRUE[state])
        got = unit_credit([values[0], values[state]], reward)
        true = unit_credit([known_value(TRUE[0]), known_value(TRUE[state])], reward)
        made.append((got.credit, got.errors, got.halves, true.credit))
    return made


def test_credit_by_many_forks_is_the_true_credit_of_the_toy() -> None:
    (first, *_) = toy_credit(20_000, 0)
    assert first[0] == pytest.approx(first[3], abs=0.02)
    variance = 0.35**2, 0.5 * FOUND * (1 - FOUND) + 0.5 * MISSED * (1 - MISSED)
    every = toy_credit(20_000, 1)
    found = [credit_variance(*(np.array([e[part][k] for e in every]) for part in (0, 1))) for k in (0, 1)]
    assert found == pytest.approx(variance, rel=0.15)


def test_reliability_is_the_squared_correlation_with_true_credit() -> None:
    """True credit of N units and independent noise of known size: reliability and split halves in closed form."""
    rng = np.random.default_rng(3)
    true, noise = rng.normal(0, 0.3, 40_000), 0.2
    halves = true + rng.normal(0, noise * 2**0.5, (2, len(true)))
    credit, errors = halves.mean(0), np.full(len(true), noise)
    expected = 0.09 / (0.09 + 0.04)
    assert reliability(credit, errors) == pytest.approx(expected, abs=0.01)
    assert split_half_reliability(halves) == pytest.approx(expected, abs=0.01)
    assert np.corrcoef(credit, true)[0, 1] ** 2 == pytest.approx(expected, abs=0.01)
    assert credit_variance(credit, errors) == pytest.approx(0.09, rel=0.03)


def test_credit_that_does_not_vary_has_no_reliability() -> None:
    assert np.isnan(reliability(np.zeros(4), np.ones(4)))
    assert np.isnan(split_half_reliability(np.array([[1.0, 2.0], [1.0, 1.0]])))
