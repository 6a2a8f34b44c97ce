"""Turn rewards: the outcome at the end, form by turn, evidence where it was first read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.env.turn_rewards import TURN_REWARDS, has_evidence, turn_rewards
from harness.types import Fault, Question, Step, Trajectory
from tests.support.episodes import MALFORMED, RIGHT, SEARCH, question, trajectory

PLAN = (Step("Chad", "capital", "N'Djamena", "p1"), Step("N'Djamena", "population", "1,605,696", "p2"))


def asked(**fields: object) -> Question:
    return replace(question(), text="How many people live in the capital of Chad?", **fields)


def searches(*read: str, about: Question) -> Trajectory:
    return trajectory([*((SEARCH, text) for text in read), (RIGHT, None)], about)


def with_passages(episode: Trajectory, *found: tuple[str, ...], fault: int | None = None) -> Trajectory:
    """The episode with these passages in its first results; that of index `fault` replaced by a fault."""
    turns = list(episode.turns)
    for k, ids in enumerate(found):
        struck = Fault("empty", k, "") if fault == k else None
        turns[k] = replace(turns[k], result=replace(turns[k].result, passages=ids, fault=struck))
    return replace(episode, turns=tuple(turns))


def test_the_outcome_is_earned_by_the_last_turn_alone() -> None:
    episode = searches("nothing", "nothing", about=question())
    assert turn_rewards("outcome", episode) == [0.0, 0.0, episode.reward.total]
    assert episode.reward.total > 0


def test_form_is_that_of_each_turn() -> None:
    form = turn_rewards("form", trajectory([(SEARCH, "x"), (MALFORMED, "warning"), (RIGHT, None)]))
    assert form[0] == form[2] == 1.0
    assert 0 < form[1] < 1


def test_evidence_is_the_share_of_hops_whose_value_is_read_for_the_first_time() -> None:
    about = asked(plan=PLAN)
    read = ("nothing", "[1] Chad: its capital is N\u2019Djamena", "N'Djamena again: 1,605,696 people", "1,605,696")
    assert turn_rewards("evidence", searches(*read, about=about)) == [0.0, 0.5, 0.5, 0.0, 0.0]
    both = searches("N'Djamena has 1,605,696 inhabitants", about=about)
    assert turn_rewards("evidence", both) == [1.0, 0.0]


def test_a_part_of_a_value_and_a_value_in_the_question_are_no_evidence() -> None:
    about = asked(plan=(*PLAN[1:], Step("Africa", "country", "Chad", "p0")))
    assert turn_rewards("evidence", searches("1,605 people in Chad", about=about)) == [0.0, 0.0]


def test_what_an_operator_that_retrieves_nothing_returns_is_no_evidence() -> None:
    episode = searches("Answer: N'Djamena", about=asked(plan=PLAN))
    turn = episode.turns[0]
    guessed = replace(turn, result=replace(turn.result, operator="AnswerGenerate"))
    assert turn_rewards("evidence", episode)[0] == 0.5
    assert turn_rewards("evidence", replace(episode, turns=(guessed, *episode.turns[1:])))[0] == 0.0


def test_without_a_plan_evidence_is_supporting_passages_unless_a_fault_replaced_them() -> None:
    about = asked(supporting=("p1", "p2"))
    episode = with_passages(searches("a", "b", about=about), ("p9", "p1"), ("p1", "p2"))
    assert turn_rewards("evidence", episode) == [0.5, 0.5, 0.0]
    struck = with_passages(searches("a", "b", about=about), ("p9", "p1"), ("p1", "p2"), fault=0)
    assert turn_rewards("evidence", struck) == [0.0, 1.0, 0.0]


def test_questions_without_plan_and_passages_have_no_evidence() -> None:
    assert not has_evidence(question())
    assert has_evidence(asked(plan=PLAN))
    assert has_evidence(asked(supporting=("p1",)))
    assert turn_rewards("evidence", searches("N'Djamena", about=question())) == [0.0, 0.0]


@pytest.mark.parametrize("source", TURN_REWARDS)
def test_every_source_gives_a_number_a_turn(source: str) -> None:
    assert len(turn_rewards(source, searches("a", "b", about=asked(plan=PLAN)))) == 3


@pytest.mark.parametrize("returned", ["[1.0]", "[float('nan'), 0.0]"])
def test_ones_own_turn_reward_of_another_length_or_not_finite_is_refused(tmp_path, returned: str) -> None:
    (tmp_path / "own.py").write_text(f"def f(trajectory): return {returned}")
    with pytest.raises(ValueError, match="2 finite numbers expected"):
        turn_rewards(f"{tmp_path / 'own.py'}:f", searches("a", about=question()))
