"""Short call forms of the compact style: what a call leaves out is what the policy has read in the episode."""

from __future__ import annotations

import pytest

from harness.env.interfaces import CodeInterface, NaturalInterface
from harness.operators import CALLABLE, OPERATORS, CallContext, Role
from harness.operators.base import PastCall
from harness.types import OperatorFailure, OperatorResult, ParseFailure
from tests.support.small_world import ONE_HOP, run, toolbox

Q = ONE_HOP[7]
BARE = ("AnswerGenerate", "MultiAnswerGenerate", "PromptOptimizer", "Revise", "ScEnsemble")


def past(role: Role, text: str, result: str, failure: OperatorFailure | None = None) -> PastCall:
    return PastCall(role, text, OperatorResult("x", result, failure))


EPISODE = CallContext(
    Q,
    earlier=(
        past(Role.SAMPLES, "", "[Answer 1] Capital7 [Answer 2] Capital8 [Answer 3] Capital7"),
        past(Role.ANSWERS, "", "Answer: Capital9"),
        past(Role.REVIEWS, "<solution>Capital4</solution>", "Feedback: The solution is wrong. Check it."),
    ),
)


def test_the_operators_that_need_no_input_are_those_whose_every_part_the_episode_has() -> None:
    assert tuple(sorted(name for name in CALLABLE if OPERATORS[name].bare)) == BARE


def test_a_short_form_is_completed_from_the_episode() -> None:
    assert OPERATORS["Revise"].read_inputs("", EPISODE) == (
        {"question": (Q.text,), "solution": ("Capital4",), "feedback": ("The solution is wrong. Check it.",)},
        [],
    )
    assert OPERATORS["Review"].read_inputs("<solution>A</solution>", EPISODE)[0]["question"] == (Q.text,)
    assert OPERATORS["ScEnsemble"].read_inputs("", EPISODE)[0]["solution"] == ("Capital7", "Capital8", "Capital7")
    assert OPERATORS["AnswerGenerate"].read_inputs(" ", EPISODE)[0] == {"text": (Q.text,)}


def test_the_last_solution_is_the_latest_answer_or_reviewed_one() -> None:
    later = (*EPISODE.earlier, past(Role.REVISES, "", "Answer: Capital5"))
    assert OPERATORS["Revise"].read_inputs("", CallContext(Q, earlier=later))[0]["solution"] == ("Capital5",)
    failed = (*EPISODE.earlier, past(Role.REVISES, "", "Revise gave no answer.", OperatorFailure.TIMEOUT))
    assert OPERATORS["Revise"].read_inputs("", CallContext(Q, earlier=failed))[0]["solution"] == ("Capital4",)


def test_what_a_call_says_is_never_replaced() -> None:
    text = "<question>q</question><solution>s</solution><feedback>f</feedback>"
    inputs, missing = OPERATORS["Revise"].read_inputs(text, EPISODE)
    assert (inputs, missing) == ({"question": ("q",), "solution": ("s",), "feedback": ("f",)}, [])


@pytest.mark.parametrize("name", ["Revise", "ScEnsemble"])
def test_without_anything_to_act_on_the_call_is_corrected(name: str) -> None:
    assert run(toolbox().call(name, "", CallContext(Q))).failure is OperatorFailure.MISSING_INPUT


def test_the_full_style_has_no_short_forms() -> None:
    assert run(toolbox(style="full").call("Revise", "", EPISODE)).failure is OperatorFailure.MISSING_INPUT


@pytest.mark.parametrize("name", CALLABLE)
def test_an_empty_call_is_well_formed_exactly_where_the_compact_style_has_it(name: str) -> None:
    text = f"<think>So.</think><tool>{name}:</tool>"
    compact, full = (NaturalInterface(compact=c).parse(text, CALLABLE) for c in (True, False))
    assert compact.well_formed == (name in BARE)
    assert full.failures == (ParseFailure.EMPTY_ACTION,)


def test_the_code_interface_has_the_same_short_forms() -> None:
    usage = {name: CodeInterface(compact=True).usage(OPERATORS[name]) for name in CALLABLE}
    assert usage["Review"] == "review(solution)"
    assert usage["Revise"] == "revise()"
    assert usage["Search"] == "search(text)"
    assert CodeInterface().usage(OPERATORS["Revise"]) == "revise(question, solution, feedback)"
