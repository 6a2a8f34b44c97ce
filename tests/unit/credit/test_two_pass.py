"""Values by forks in two passes: unbiased, errors that are right, further forks where they help."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.credit.two_pass import StateValue, allocation, estimated_value, known_value, two_pass_values

RARE = (0.1, 0.5)
"""Chances of reward 1 of two states."""


def by_table(first_pass: Sequence[Sequence[float]], later: Sequence[float]) -> list[StateValue]:
    """Values of states whose first four forks return `first_pass`, and every further one `later`."""

    def draw(pairs: Sequence[tuple[int, int]]) -> list[float]:
        return [first_pass[state][n] if n < 4 else later[state] for state, n in pairs]

    return two_pass_values(draw, [1, 1], 8)


def test_values_have_no_bias_though_the_forks_of_a_state_depend_on_what_it_returned() -> None:
    """Over all 2^8 outcomes of the first pass; a value is linear in further returns, which stand at their mean."""
    expected, counts = np.zeros(2), set()
    for outcome in product((0.0, 1.0), repeat=8):
        table = [outcome[:4], outcome[4:]]
        chance = np.prod([p if r else 1 - p for p, row in zip(RARE, table, strict=True) for r in row])
        made = by_table(table, RARE)
        expected += chance * np.array([v.value for v in made])
        counts.add(made[0].forks)
        for half in (0, 1):
            assert made[0].halves[half] == pytest.approx(
                (sum(table[0][half::2]) + (n := further(table, half)) * RARE[0]) / (2 + n)
            )
    assert expected == pytest.approx(RARE, abs=1e-12)
    assert len(counts) > 3  # or nothing would be tested


def further(table: Sequence[Sequence[float]], half: int) -> int:
    """Further forks of the first of two states in a half, of a budget of 4 by the variance that the other half saw."""
    variance = np.array([np.var(row[1 - half :: 2], ddof=1) for row in table])
    spread = np.sqrt((variance + variance.mean()) / 2)
    return int(allocation(spread, np.ones(2), 4)[0])


def test_a_states_forks_are_numbered_from_0_without_gaps_in_each_half() -> None:
    asked: list[tuple[int, int]] = []

    def draw(pairs: Sequence[tuple[int, int]]) -> list[float]:
        asked.extend(pairs)
        return [float(np.random.default_rng(pair).random() < (0.5, 0.0)[pair[0]]) for pair in pairs]

    values = two_pass_values(draw, [1, 1], 32)
    assert len(asked) == len(set(asked)) == 64
    for state, value in enumerate(values):
        numbers = [n for s, n in asked if s == state]
        assert len(numbers) == value.forks
        for half in (0, 1):
            own = [n for n in numbers if n % 2 == half]
            assert own == list(range(half, 2 * len(own) + half, 2))
    assert values[0].forks > values[1].forks >= 16  # the state without variance got few beyond the first pass


def test_errors_are_the_standard_deviation_of_values() -> None:
    chance, errors, values = 0.3, [], []
    for trial in range(1500):
        rng = np.random.default_rng(trial)
        (made,) = two_pass_values(lambda pairs, rng=rng: rng.random(len(pairs)) < chance, [1], 24)
        values.append(made.value)
        errors.append(made.error**2)
    assert np.mean(values) == pytest.approx(chance, abs=4 * np.std(values) / 1500**0.5)
    assert np.var(values) == pytest.approx(np.mean(errors), rel=0.15)


def test_the_error_of_unequal_halves_is_that_of_their_midpoint() -> None:
    made = estimated_value(np.array([0.0, 1.0]), np.array([1.0, 1.0, 0.0, 1.0]))
    assert (made.value, made.halves, made.forks) == ((0.5 + 0.75) / 2, (0.5, 0.75), 6)
    assert made.error == pytest.approx((np.var([0, 1, 1, 1, 0, 1], ddof=1) * (1 / 2 + 1 / 4) / 4) ** 0.5)
    assert known_value(-1.5) == StateValue(-1.5, 0.0, (-1.5, -1.5), 0)
    with pytest.raises(ValueError, match="each half"):
        estimated_value(np.array([]), np.array([1.0]))


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.5, 0.8]), st.integers(1, 9)), min_size=1, max_size=6),
    st.integers(0, 40),
)
def test_the_allocation_spends_the_budget_within_a_fork_of_the_best_division(
    states: list[tuple[float, int]], budget: int
) -> None:
    spread, visits = (np.array(column, float) for column in zip(*states, strict=True))
    made = allocation(spread, visits, budget)
    if not spread.any():
        assert not made.any()
        return
    best = np.sqrt(visits) * spread / (np.sqrt(visits) * spread).sum() * budget
    assert made.sum() == budget
    assert np.abs(made - best).max() < 1
    assert not made[spread == 0].any()


def test_neymans_allocation_beats_its_neighbours() -> None:
    """No transfer of one fork lowers the sum of variances over units."""
    spread, visits, budget = np.array([0.5, 0.2, 0.45]), np.array([1, 16, 4]), 40

    def variance(forks: np.ndarray) -> float:
        return float((visits * spread**2 / forks).sum())

    best = allocation(spread, visits, budget)
    for a, b in product(range(3), repeat=2):
        if a != b:
            moved = best.copy()
            moved[a] += 1
            moved[b] -= 1
            assert variance(best) <= variance(moved)


@pytest.mark.parametrize("forks", [0, 4, 7, 10, -8])
def test_a_number_of_forks_that_two_passes_cannot_divide_is_refused(forks: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4 and at least 8"):
        two_pass_values(lambda pairs: [0.0] * len(pairs), [1], forks)
