"""Scores of estimators in closed form on a chain of three states, every episode enumerated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from harness.credit.estimator_scores import (
    CreditedUnits,
    credited_units,
    efficiency,
    efficiency_difference,
    rank_correlation,
    wrong_sign_share,
)
from harness.credit.two_pass import StateValue, known_value
from harness.credit.unit_credit import unit_credit

# A search finds or misses, half of the time each; the answer is then right with chance .8 or .1. V: .45, .8, .1.
FOUND, MISSED = 0.8, 0.1
START = (FOUND + MISSED) / 2
EPISODES = [(FOUND, 1)] * 8 + [(FOUND, 0)] * 2 + [(MISSED, 1)] * 1 + [(MISSED, 0)] * 9
"""(value after the search, reward): each as often as its chance, of 20."""
V1, V2 = 0.35**2, (FOUND * (1 - FOUND) + MISSED * (1 - MISSED)) / 2
"""Variances of the credit of the search and of the answer, which are uncorrelated."""


def toy(tokens: tuple[int, int] = (1, 1)) -> CreditedUnits:
    credits = [unit_credit([known_value(START), known_value(v)], reward) for v, reward in EPISODES]
    return credited_units(credits, [tokens] * len(credits), [i // 4 for i in range(len(credits))])


def by_unit(*rules: object) -> np.ndarray:
    """One advantage a unit, by a rule each for the search and the answer, of (value after the search, reward)."""
    return np.array([rule(v, r) for v, r in EPISODES for rule in rules])  # type: ignore[operator]


RETURN = by_unit(lambda v, r: r - START, lambda v, r: r - START)
STATE_BASELINE = by_unit(lambda v, r: r - START, lambda v, r: r - v)


@pytest.mark.parametrize("a", [1, 3])
@pytest.mark.parametrize("b", [1, 2])
def test_efficiencies_are_those_of_the_closed_form(a: int, b: int) -> None:
    """The whole return has both units' credit in both: E[eA] = a·V1 + b·V2, E[e²] = (a + b)(V1 + V2)."""
    units = toy((a, b))
    true = a * V1 + b * V2
    assert efficiency(units.credit, units) == pytest.approx(1)
    assert efficiency(-7 * units.credit, units) == pytest.approx(1)
    assert efficiency(RETURN, units) == pytest.approx(true / ((a + b) * (V1 + V2)))
    assert efficiency(STATE_BASELINE, units) == pytest.approx(true / (a * (V1 + V2) + b * V2))
    assert efficiency(by_unit(lambda v, r: 1.0, lambda v, r: 1.0), units) == pytest.approx(0, abs=1e-12)
    assert np.isnan(efficiency(np.zeros(40), units))


def test_the_noise_of_the_forks_drops_out() -> None:
    rng = np.random.default_rng(0)
    many = [EPISODES[i % 20] for i in range(40_000)]
    noise = 0.3

    def value(v: float) -> StateValue:
        halves = v + rng.normal(0, noise * 2**0.5, 2)
        return StateValue(float(halves.mean()), noise, (float(halves[0]), float(halves[1])), 8)

    credits = [unit_credit([value(START), value(v)], r) for v, r in many]
    units = credited_units(credits, [(1, 1)] * len(many), [0] * len(many))
    returns = np.array([r - START for _, r in many for _ in (0, 1)])
    assert efficiency(returns, units) == pytest.approx(0.5, abs=0.01)
    single = [(v - START, r - v) for v, r in many]
    assert efficiency(np.ravel(single), units) == pytest.approx(1, abs=0.02)


def test_the_share_of_wrong_signs_is_weighted_by_credit() -> None:
    units = toy()
    every, wrong = np.abs(units.credit).sum(), np.abs(units.credit[RETURN * units.credit < 0]).sum()
    assert 0 < wrong < every
    assert wrong_sign_share(RETURN, units) == pytest.approx(wrong / every)
    assert wrong_sign_share(units.credit, units) == 0
    assert wrong_sign_share(-units.credit, units) == 1
    assert wrong_sign_share(np.zeros(40), units) == 0
    unsure = replace(units, errors=np.full(40, 10.0))
    assert np.isnan(wrong_sign_share(RETURN, unsure))
    # units found by a half have the size that the other gives them: of the first, found by chance, nothing is left
    halves = np.array([[1.0, 0.8, 0.9], [0.0, 0.8, 0.9]])
    three = CreditedUnits(halves.mean(0), np.full(3, 0.1), halves, np.ones(3), np.zeros(3, int), np.zeros(3, bool))
    assert wrong_sign_share(np.array([-1.0, -1.0, 1.0]), three) == pytest.approx(1.6 / 3.4)


def test_ranks_are_compared_over_units_that_are_not_final() -> None:
    units = toy()
    assert units.final.tolist() == [False, True] * 20
    expected = spearmanr(RETURN[::2], units.credit[::2]).statistic
    assert rank_correlation(RETURN, units) == pytest.approx(expected)
    assert rank_correlation(RETURN, units) < spearmanr(RETURN, units.credit).statistic
    assert np.isnan(rank_correlation(np.ones(40), units))


def test_the_difference_of_efficiencies_is_resampled_by_whole_groups() -> None:
    units = toy()
    value, low, high = efficiency_difference(STATE_BASELINE, RETURN, units)
    assert value == pytest.approx(efficiency(STATE_BASELINE, units) - efficiency(RETURN, units))
    assert low < value < high
    assert efficiency_difference(RETURN, 2 * RETURN, units) == pytest.approx((0, 0, 0), abs=1e-12)
    one_group = replace(units, group=np.zeros(40, int))
    value, low, high = efficiency_difference(STATE_BASELINE, RETURN, one_group)
    assert (low, high) == pytest.approx((value, value))  # nothing to resample


def test_lengths_of_other_units_are_refused() -> None:
    credit = unit_credit([known_value(0.0)], 1.0)
    with pytest.raises(ValueError, match="1 units but 2 lengths"):
        credited_units([credit], [(3, 4)], [0])
