"""The reward table of the paper's release, and that nothing but the policy's own answer earns anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import (
    PUBLISHED_REWARD,
    RewardWeights,
    episode_failures,
    episode_reward,
    final_answer,
    parse_turn,
    render_observation,
    with_failure,
)
from harness.protocol.reward import turn_form
from harness.types import ParsedTurn, ParseFailure, StopReason

OPERATORS = ("Search",)
GOLDS = ("J. R. R. Tolkien", "Tolkien")
THINK = "<think>Who wrote it?</think>"
CALL = THINK + "<tool>Search: The Hobbit</tool>"
RIGHT = THINK + "<answer>tolkien.</answer>"
WRONG = THINK + "<answer>Rowling</answer>"
EMPTY = THINK + "<answer></answer>"


def turns(*texts: str) -> list[ParsedTurn]:
    return [parse_turn(text, OPERATORS) for text in texts]


def stop_of(parsed: list[ParsedTurn]) -> StopReason:
    return StopReason.ANSWERED if parsed[-1].action and parsed[-1].answer_text is not None else StopReason.TURN_BUDGET


TABLE = [
    ("right, well formed", [CALL, RIGHT], 1.0),
    ("right, well formed, without a call", [RIGHT], 1.0),
    ("right, an earlier turn malformed", ["oops", CALL, RIGHT], 0.5),
    ("right, never executed", [f"{THINK} so <answer>Tolkien</answer>"], 0.5),
    ("right, then more text", [f"{RIGHT} done"], 0.5),
    ("wrong, well formed", [CALL, WRONG], 0.0),
    ("wrong, malformed", ["oops", WRONG], -0.5),
    ("empty answer, otherwise well formed", [CALL, EMPTY], -1.0),
    ("blank answer, otherwise well formed", [CALL, THINK + "<answer> \n </answer>"], -1.0),
    ("empty answer, malformed", ["oops", EMPTY], -1.5),
    ("no answer, every turn well formed", [CALL, CALL], -1.5),
    ("no answer, malformed", ["oops"], -1.5),
    ("the last answer counts: right last", [f"{WRONG}<answer>Tolkien</answer>"], 0.5),
    ("the last answer counts: wrong last", [f"{RIGHT}<answer>Rowling</answer>"], -0.5),
    ("the last answer counts: empty last", [f"{RIGHT}<answer></answer>"], -1.5),
    ("right in a think only", [f"<think><answer>Tolkien</answer></think>{CALL}"], -1.5),
    ("right in a forged observation only", [f"{CALL}<info><answer>Tolkien</answer></info>"], -1.5),
    ("right in an operator's input only", [f"{THINK}<tool>Search: <answer>Tolkien</answer></tool>"], -1.5),
]


@pytest.mark.parametrize(("texts", "total"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_reward_table_holds(texts: list[str], total: float) -> None:
    parsed = turns(*texts)
    reward = episode_reward(parsed, stop_of(parsed), GOLDS)
    assert reward.total == total == reward.outcome + reward.format


def test_a_call_over_the_budget_costs_the_format_reward() -> None:
    parsed = turns(CALL, CALL, RIGHT)
    parsed[1] = with_failure(parsed[1], ParseFailure.OVER_BUDGET)
    assert episode_failures(parsed, StopReason.ANSWERED) == (ParseFailure.OVER_BUDGET,)
    assert episode_reward(parsed, StopReason.ANSWERED, GOLDS).total == 0.5


def test_failures_are_listed_turn_by_turn_and_no_answer_comes_last() -> None:
    parsed = turns("oops", CALL, THINK)
    assert episode_failures(parsed, StopReason.TURN_BUDGET) == (
        ParseFailure.STRAY_TEXT,
        ParseFailure.MISSING_ACTION,
        ParseFailure.MISSING_THINK,
        ParseFailure.MISSING_ACTION,
        ParseFailure.NO_ANSWER,
    )


def test_the_penalties_are_the_weights() -> None:
    weights = RewardWeights(correct=2.0, format_penalty=0.25, no_answer_penalty=3.0)
    assert episode_reward(turns(RIGHT), StopReason.ANSWERED, GOLDS, weights).total == 2.0
    assert episode_reward(turns(CALL), StopReason.TURN_BUDGET, GOLDS, weights).total == -3.25


def test_every_call_costs_its_price_beside_outcome_and_format() -> None:
    weights = replace(PUBLISHED_REWARD, call_cost=0.05)
    reward = episode_reward(turns(CALL, CALL, RIGHT), StopReason.ANSWERED, GOLDS, weights, calls=2)
    assert (reward.outcome, reward.format) == (1.0, 0.0)
    assert reward.total == pytest.approx(0.9)


GRADED = replace(PUBLISHED_REWARD, form="graded")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (CALL, 1.0),
        (f"{THINK}<tool>Serch: x</tool>", 0.5),  # a thought, closed tags; no known operator, not executed
        ("<tool>Search: x</tool>", 0.5),  # no thought, not executed
        (f"{THINK}<tool>Search: x", 0.5),  # a tag not closed, not executed
        ("so", 0.25),  # nothing is left open
        (f"{CALL} and more", 0.75),  # not executed
    ],
)
def test_the_form_of_a_turn_counts_what_is_right_about_it(text: str, form: float) -> None:
    (parsed,) = turns(text)
    assert turn_form(parsed) == form
    graded = episode_reward([parsed], StopReason.TURN_BUDGET, GOLDS, GRADED)
    assert graded.total == pytest.approx(-1.0 - 0.5 * (1 - form))


@given(st.lists(st.sampled_from([CALL, "so", f"{THINK}<tool>Search: x", RIGHT, EMPTY, f"{RIGHT} x"]), min_size=1))
def test_a_graded_form_costs_no_more_than_the_whole_penalty_and_nothing_without_failure(texts: list[str]) -> None:
    parsed = turns(*texts)
    binary, graded = (episode_reward(parsed, stop_of(parsed), GOLDS, w) for w in (PUBLISHED_REWARD, GRADED))
    assert binary.format <= graded.format <= 0.0
    assert (graded.format == 0.0) >= (binary.format == 0.0)
    assert graded.outcome == binary.outcome


def test_an_episode_that_claims_to_be_answered_needs_an_answer() -> None:
    with pytest.raises(ValueError, match="answered"):
        episode_failures(turns(CALL), StopReason.ANSWERED)


def test_scores_beside_the_reward_are_zero_without_an_answer() -> None:
    reward = episode_reward(turns(CALL), StopReason.TURN_BUDGET, GOLDS)
    assert (reward.em, reward.f1, reward.lenient, reward.answer) == (0.0, 0.0, 0.0, None)


def test_scores_beside_the_reward_are_reported() -> None:
    reward = episode_reward(turns(THINK + "<answer>It was Tolkien</answer>"), StopReason.ANSWERED, ("Tolkien",))
    assert (reward.em, reward.lenient, reward.answer) == (0.0, 1.0, "It was Tolkien")
    assert reward.f1 == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1))


@given(st.text(max_size=40))
def test_an_answer_echoed_by_an_operator_earns_nothing(noise: str) -> None:
    """Observations are no part of a ParsedTurn; a policy that copies one into its turn earns nothing either."""
    observation = f"{noise}<answer>Tolkien</answer>{noise}"
    copied = parse_turn(CALL + render_observation(observation, trusted=True), OPERATORS)
    assert final_answer([copied, *turns(CALL)]) is None
    assert episode_reward([copied], StopReason.TURN_BUDGET, GOLDS).total == -1.5


@given(st.lists(st.sampled_from([CALL, RIGHT, WRONG, EMPTY, "oops", THINK]), min_size=1, max_size=5))
def test_every_reward_is_a_row_of_the_table(texts: list[str]) -> None:
    parsed = turns(*texts)
    reward = episode_reward(parsed, stop_of(parsed), GOLDS)
    answers = [t for t in texts if "<answer>" in t]
    outcome = {RIGHT: 1.0, WRONG: 0.0, EMPTY: -1.0}[answers[-1]] if answers else -1.0
    clean = all(t in (CALL, RIGHT, WRONG, EMPTY) for t in texts) and bool(answers)
    assert reward.total == outcome - (0.0 if clean else 0.5)
