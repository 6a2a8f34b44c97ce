"""Forced units against a policy whose values are known: every effect in closed form."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from harness.credit.forced_units import (
    FORCED_SCRIPTS,
    OMIT,
    OWN,
    PLACEBO,
    ForcedReturns,
    forced_effects,
    forced_returns,
    review_occasions,
)
from harness.credit.values import ForkSettings
from harness.env.rollout import Environment, rollout
from harness.operators.base import CallContext
from harness.types import OperatorResult, Trajectory
from tests.support.drawn_turns import DrawnTurns
from tests.support.episodes import question
from tests.unit.env.test_rollout import Echo, environment

MAX_TURNS = 3
FORKS = 80
BAD = "<think>so</think><answer>Niamey</answer>"
GOOD = "<think>so</think><answer>N'Djamena</answer>"


class Reviewer(Echo):
    """A review that rejects all but N'Djamena, and remembers what it was asked."""

    pool = ("Search", "Review", "Revise")  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        self.asked.append((name, text))
        if name != "Review":
            return OperatorResult(name, "nothing")
        return OperatorResult(name, f"Feedback: The solution is {'correct' if 'Djamena' in text else 'wrong'}.")


def lines(solution: str) -> list[str]:
    """The policy: a quarter each of a review of `solution`, a search, a right and a wrong answer."""
    review = f"<think>my words</think><tool>Review: <solution>{solution}</solution></tool>"
    return [review, "<think>so</think><tool>Search: my query</tool>", GOOD, BAD]


def value(turns: int) -> float:
    """Of the policy after so many turns: half of its turns end it, -1.5 without an answer."""
    return -1.5 if turns == MAX_TURNS else 0.25 + 0.5 * value(turns + 1)


def place(operators: Reviewer) -> Environment:
    return environment(operators, max_turns=MAX_TURNS)


def played(solution: str) -> list[Trajectory]:
    return rollout(DrawnTurns(lines(solution)), place(Reviewer()), [question(i % 3) for i in range(40)], range(40), 1.0)


@cache
def returns(solution: str) -> tuple[list[ForcedReturns], list[tuple[str, str]]]:
    operators = Reviewer()
    occasions = review_occasions(place(operators), played(solution))
    chosen = [o for o in occasions if not o.state.turns] + [o for o in occasions if o.searched][:2]
    moves = (*FORCED_SCRIPTS, OMIT, PLACEBO)
    made = forced_returns(DrawnTurns(lines(solution)), place(operators), chosen, moves, ForkSettings(FORKS, 3, 1.0))
    return made, operators.asked


def assert_mean(found: np.ndarray, expected: float) -> None:
    assert len(found) == FORKS
    assert found.mean() == pytest.approx(expected, abs=4.5 * found.std() / FORKS**0.5 + 1e-9)


@pytest.mark.parametrize("solution", ["Niamey", "N'Djamena"])
def test_the_return_of_every_move_is_its_value(solution: str) -> None:
    made, _ = returns(solution)
    assert {len(r.occasion.state.turns) for r in made} >= {0, 1}
    right = solution == "N'Djamena"
    for each in made:
        k = len(each.occasion.state.turns)
        assert each.occasion.right is right
        assert_mean(each.rewards[OWN], value(k))
        assert_mean(each.rewards[PLACEBO], value(k))
        assert_mean(each.rewards["review"], value(k + 1))
        assert_mean(each.rewards["search_again"], value(k + 1))
        assert_mean(each.rewards["review_revise"], value(k + 1) if right else value(min(k + 2, MAX_TURNS)))
        assert_mean(each.rewards["answer"], float(right))
        # a search, or one of two answers, each a third
        assert_mean(each.rewards[OMIT], (1 + value(k + 1)) / 3)
        assert_mean(each.em["answer"], float(right))
        assert np.array_equal(each.em[OWN] == 1, each.rewards[OWN] == 1)


def test_the_moves_speak_with_the_words_of_the_policys_own_review() -> None:
    made, asked = returns("Niamey")
    by_name = {name: {text for n, text in asked if n == name} for name in ("Search", "Review", "Revise")}
    assert by_name["Review"] == {"<solution>Niamey</solution>"}
    questions = {question(i).text for i in range(3)}
    assert by_name["Search"] == {"my query", *questions}  # the question, where nothing was searched for before
    feedback = "<solution>Niamey</solution><feedback>The solution is wrong.</feedback>"
    assert by_name["Revise"] == {f"<question>{text}</question>{feedback}" for text in questions}
    assert {r.occasion.think for r in made} == {"my words"}


def test_forks_of_a_move_share_their_seeds_with_the_policys_own() -> None:
    """A forced review followed by the policy's next turn: where its own turn was that review, nothing differs."""
    occasion = next(r.occasion for r in returns("Niamey")[0] if not r.occasion.state.turns)
    engine = DrawnTurns(lines("Niamey"))
    (made,) = forced_returns(engine, place(Reviewer()), [occasion], ["review"], ForkSettings(80, 3, 1.0))
    own = engine.seeds[:80]
    reviewed = [np.random.default_rng(s).integers(4) == 0 for s in own]
    assert 5 < sum(reviewed) < 40
    assert np.array_equal(made.rewards["review"][reviewed], made.rewards[OWN][reviewed])


def test_effects_are_by_whether_the_own_solution_is_right() -> None:
    every = [*returns("Niamey")[0], *returns("N'Djamena")[0]]
    effects = forced_effects(every, "answer")
    for where, kept in (("wrong", [False]), ("right", [True]), ("all", [False, True])):
        chosen = [r for r in every if r.occasion.right in kept]
        of_question: dict[str, list[float]] = {}
        for r in chosen:
            of_question.setdefault(r.occasion.state.question.id, []).append(
                float(np.mean(r.rewards["answer"] - r.rewards[OWN]))
            )
        assert effects[where].value == pytest.approx(np.mean([np.mean(v) for v in of_question.values()]))
    placebo = forced_effects(every, PLACEBO)["all"]
    assert placebo.interval is not None
    assert placebo.interval.low < 0 < placebo.interval.high
    assert set(forced_effects(returns("Niamey")[0], "answer")) == {"all", "wrong"}


def test_a_policy_that_only_reviews_leaves_nothing_to_omit() -> None:
    occasion = returns("Niamey")[0][0].occasion
    (made,) = forced_returns(
        DrawnTurns(lines("Niamey")[:1]), place(Reviewer()), [occasion], [OMIT], ForkSettings(8, 0, 1.0)
    )
    assert np.isnan(made.rewards[OMIT]).all()
    assert np.isnan(made.effect(OMIT))
    assert forced_effects([made, made], OMIT) == {}
