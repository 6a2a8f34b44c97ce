"""Signatures of an unhealthy policy: each by hand-made episodes that show it, and by ones that nearly do."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.env.diagnostics import (
    CLIFF_FRACTION,
    MIN_HISTORY,
    SPIKE_MULTIPLE,
    WINDOW,
    RunningSignatures,
    episode_metrics,
    group_metrics,
    longest_run,
    notable,
    repeated_calls,
)
from harness.types import Group, OperatorFailure, Trajectory
from tests.support.episodes import MALFORMED, RIGHT, SEARCH, WRONG, group, question, trajectory
from tests.support.examples import examples

OTHER_SEARCH = "<think>look again</think><tool>Search: Chad</tool>"
OTHER_OPERATOR = "<think>ask</think><tool>AnswerGenerate: capital</tool>"
ACT_FIRST = "<tool>Search: capital</tool><think>look it up</think>"
ONCE = [(SEARCH, "x"), (RIGHT, None)]


def failing(n: int, then_right: int = 0) -> Trajectory:
    """`n` failed calls in a row, then calls that succeed, then the answer."""
    made = trajectory([(SEARCH, "x")] * (n + then_right) + [(RIGHT, None)])
    turns = [
        replace(t, result=replace(t.result, failure=OperatorFailure.TIMEOUT)) if i < n and t.result else t
        for i, t in enumerate(made.turns)
    ]
    return replace(made, turns=tuple(turns))


def test_rates_are_shares_of_episodes() -> None:
    values = episode_metrics([trajectory([(RIGHT, None)]), trajectory([(WRONG, None)]), trajectory(ONCE)])
    assert values["em"] == pytest.approx(2 / 3)
    assert values["reward_mean"] == pytest.approx(2 / 3)
    assert values["format_ok"] == values["parse_ok_rate"] == 1.0
    assert values["turns"] == pytest.approx(4 / 3)
    assert values["calls"] == pytest.approx(1 / 3)


def test_a_malformed_turn_costs_its_episode_the_format_and_one_turn_of_the_parse_rate() -> None:
    values = episode_metrics([trajectory([(MALFORMED, "warning"), (RIGHT, None)]), trajectory(ONCE)])
    assert values["format_ok"] == 0.5
    assert values["parse_ok_rate"] == 0.75


def test_an_episode_without_an_answer_and_one_that_acts_before_it_thinks_are_counted() -> None:
    values = episode_metrics([trajectory([(SEARCH, "x")]), trajectory([(ACT_FIRST, "x"), (RIGHT, None)])])
    assert values["no_answer"] == 0.5
    assert values["wrong_order"] == 0.5


@pytest.mark.parametrize(("failed", "loops"), [(0, 0.0), (2, 0.0), (3, 1.0), (5, 1.0)])
def test_three_failed_calls_in_a_row_are_an_operator_loop(failed: int, loops: float) -> None:
    assert episode_metrics([failing(failed, then_right=2)])["operator_loop"] == loops


@pytest.mark.parametrize(
    ("turns", "loops"),
    [
        ([MALFORMED] * 3, 1.0),
        ([MALFORMED] * 2, 0.0),
        ([MALFORMED, MALFORMED, SEARCH, MALFORMED], 0.0),  # a good turn in between: no run of three
    ],
)
def test_three_warnings_in_a_row_are_a_warning_loop(turns: list[str], loops: float) -> None:
    episode = trajectory([(t, "x") for t in turns] + [(RIGHT, None)])
    assert episode_metrics([episode])["warning_loop"] == loops


@pytest.mark.parametrize(
    ("turns", "longest"),
    [
        ([], 0),
        ([SEARCH], 1),
        ([SEARCH, SEARCH], 2),
        ([SEARCH, SEARCH, SEARCH], 3),
        ([SEARCH, OTHER_SEARCH, SEARCH, OTHER_SEARCH], 1),
        ([SEARCH, MALFORMED, SEARCH], 1),
        ([MALFORMED, MALFORMED, MALFORMED], 0),
    ],
)
def test_only_identical_calls_in_successive_turns_repeat(turns: list[str], longest: int) -> None:
    episode = trajectory([(t, "x") for t in turns] + [(RIGHT, None)])
    assert repeated_calls(episode) == longest
    assert episode_metrics([episode])["repeat_loop"] == float(longest >= 3)


@pytest.mark.parametrize(
    ("turns", "lazy"),
    [
        ([(WRONG, None)], 1.0),
        ([(RIGHT, None)], 0.0),  # right without help is no fault
        ([(SEARCH, "x"), (WRONG, None)], 0.0),
        ([(MALFORMED, "warning"), (WRONG, None)], 0.0),  # not well formed
    ],
)
def test_lazy_is_well_formed_wrong_and_without_a_call(turns: list[tuple[str, str | None]], lazy: float) -> None:
    assert episode_metrics([trajectory(turns)])["lazy"] == lazy


def test_operator_diversity_is_the_entropy_of_the_operators_called() -> None:
    one = trajectory([(SEARCH, "x"), (SEARCH, "x"), (RIGHT, None)])
    two = trajectory([(SEARCH, "x"), (OTHER_OPERATOR, "x"), (RIGHT, None)])
    assert episode_metrics([one])["operator_diversity"] == 0.0
    assert episode_metrics([two])["operator_diversity"] == pytest.approx(math.log(2))
    assert episode_metrics([trajectory([(RIGHT, None)])])["operator_diversity"] == 0.0


def test_a_group_of_equal_rewards_has_zero_variance() -> None:
    equal, mixed = group(0, mixed=False), group(1)
    values = group_metrics([equal, mixed])
    rewards = list(mixed.rewards)
    mean = sum(rewards) / 4
    assert values["zero_variance"] == 0.5
    assert values["reward_std"] == pytest.approx(math.sqrt(sum((r - mean) ** 2 for r in rewards) / 3) / 2)
    every = rewards + list(equal.rewards)
    assert values["reward_variance"] == pytest.approx(sum(r * r for r in every) / 8 - (sum(every) / 8) ** 2)
    lone = Group(question(), (trajectory([(RIGHT, None)]),))
    assert group_metrics([lone]) == {"reward_std": 0.0, "zero_variance": 1.0, "reward_variance": 0.0}


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(st.booleans()))
def test_the_longest_run_is_that_of_the_spelt_out_flags(flags: list[bool]) -> None:
    assert longest_run(flags) == max(len(run) for run in "".join("x" if f else " " for f in flags).split(" "))


def after(steps: int, variance: float = 0.4, norm: float = 2.0) -> RunningSignatures:
    state = RunningSignatures()
    for _ in range(steps):
        state, flags = state.observe(variance, norm)
        assert set(flags.values()) == {0.0}  # a steady run has neither
    return state


@pytest.mark.parametrize(
    ("variance", "cliff"), [(0.4 * CLIFF_FRACTION * 0.99, 1.0), (0.4 * CLIFF_FRACTION * 1.01, 0.0), (4.0, 0.0)]
)
def test_a_reward_variance_far_below_its_running_median_is_a_cliff(variance: float, cliff: float) -> None:
    assert after(8).observe(variance, 2.0)[1]["train/reward_variance_cliff"] == cliff


@pytest.mark.parametrize(
    ("norm", "spike"), [(2.0 * SPIKE_MULTIPLE * 1.01, 1.0), (2.0 * SPIKE_MULTIPLE * 0.99, 0.0), (0.0, 0.0)]
)
def test_a_gradient_norm_far_above_its_running_median_is_a_spike(norm: float, spike: float) -> None:
    assert after(8).observe(0.4, norm)[1]["update/grad_spike"] == spike


def test_neither_is_claimed_before_there_is_a_history() -> None:
    flags = after(MIN_HISTORY - 1).observe(0.0, 1e6)[1]
    assert flags == {"train/reward_variance_cliff": 0.0, "update/grad_spike": 0.0}
    flags = after(MIN_HISTORY).observe(0.0, 1e6)[1]
    assert flags == {"train/reward_variance_cliff": 1.0, "update/grad_spike": 1.0}


def test_one_spike_does_not_hide_the_next() -> None:
    """The reference is a median, so the first spike barely moves it."""
    state, first = after(8).observe(0.4, 1000.0)
    assert first["update/grad_spike"] == state.observe(0.4, 1000.0)[1]["update/grad_spike"] == 1.0


def test_batches_without_a_gradient_do_not_make_the_next_gradient_a_spike() -> None:
    state = after(MIN_HISTORY)
    for _ in range(WINDOW):
        state, _ = state.observe(0.4, 0.0)
    assert state.observe(0.4, 2.0)[1]["update/grad_spike"] == 0.0


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_is_a_spike_and_stays_out_of_the_history(norm: float) -> None:
    state, flags = RunningSignatures().observe(0.4, norm)
    assert flags["update/grad_spike"] == 1.0
    assert state.grad_norms == ()


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0, 100)), max_size=40), st.integers(0, 40))
def test_a_state_saved_and_restored_goes_on_as_if_nothing_happened(steps: list[tuple[float, float]], cut: int) -> None:
    whole, parted = RunningSignatures(), RunningSignatures()
    for i, (variance, norm) in enumerate(steps):
        if i == cut:
            parted = RunningSignatures.from_dict(json.loads(json.dumps(parted.to_dict())))
        whole, expected = whole.observe(variance, norm)
        parted, got = parted.observe(variance, norm)
        assert got == expected
    assert parted == whole
    assert len(whole.reward_variances) <= WINDOW


def test_sudden_changes_and_a_step_that_taught_nothing_are_notable() -> None:
    usual = RunningSignatures((1.0,) * MIN_HISTORY, (1.0,) * MIN_HISTORY)
    assert notable(usual.observe(1.0, 1.0)[1] | {"update/skipped_share": 0.5}) == []
    assert notable(usual.observe(0.0, 1.0)[1]) == ["reward_variance_cliff"]
    assert notable(usual.observe(1.0, math.nan)[1]) == ["grad_spike"]
    assert notable(usual.observe(0.0, 0.0)[1] | {"update/skipped_share": 1.0}) == [
        "no_gradient",
        "reward_variance_cliff",
    ]
