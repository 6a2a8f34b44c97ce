"""Baselines by behaviour: what they ask for, that nothing they read changes what they do next, how they vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.rollout import Environment, rollout
from harness.evaluation.baselines.fixed_workflows import PLANS, WRITTEN, Call, read_plan, result_answer
from harness.evaluation.baselines.methods import BASELINES, BaselineSettings, majority
from harness.operators import LLMRequest, LLMResponse, Toolbox
from harness.operators.base import labelled
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.protocol import PUBLISHED_REWARD, normalize_answer
from harness.training.warm_start.scripted_agents import ScriptedEngine
from harness.types import OperatorFailure, Passage, Question, StopReason, Trajectory
from tests.support.episodes import chat

QUESTION = Question("q", "What is the capital of <answer>Chad</answer>?", ("N'Djamena",), "suite", 1)
POOL = ("AnswerGenerate", "Search", "Review", "Revise", "MultiAnswerGenerate", "ScEnsemble", "Custom")
LINES = ("Search: {1}", "Custom: {2:solutions}", "Search: {question}", "x")


@dataclass
class Scripted:
    """An operator LLM that says what it is told to, and remembers what it was asked."""

    say: Callable[[LLMRequest], str]
    asked: list[LLMRequest] = field(default_factory=list)

    async def complete(self, request: LLMRequest) -> LLMResponse:
        self.asked.append(request)
        text = self.say(request)
        if text == "fail":
            return LLMResponse("", OperatorFailure.TIMEOUT)
        return LLMResponse("".join(f"<{tag}>{text}</{tag}>" for tag in request.required_tags))


def play(
    method: str, say: Callable[[LLMRequest], str], settings: BaselineSettings | None = None
) -> tuple[Trajectory, Scripted]:
    how = settings or BaselineSettings(operators=POOL)
    llm = Scripted(say)
    passages = [Passage("1", "Chad", "N'Djamena is the capital of Chad."), Passage("2", "Niger", "Niamey is in Niger.")]
    tools = Toolbox(BASELINES[method].pool(how), llm, BM25Retriever(passages), style="compact")
    calls = BASELINES[method].calls(how)
    environment = Environment(
        "s", chat(), tools, Budgets(calls, calls + 1, 10**6, 10**6), PUBLISHED_REWARD, NaturalInterface()
    )
    (episode,) = rollout(
        ScriptedEngine(chat(), [BASELINES[method].script(QUESTION, how)]), environment, [QUESTION], [5], 0
    )
    return episode, llm


def said(request: LLMRequest) -> str:
    return " ".join(m["content"] for m in request.messages)


def called(episode: Trajectory) -> list[str]:
    return [t.parsed.action.operator for t in episode.turns if t.parsed.action and t.parsed.action.operator]


def test_direct_asks_once_for_the_answer_alone_and_cot_once_for_reasoning() -> None:
    for method, thinks in (("direct", False), ("cot", True)):
        episode, llm = play(method, lambda r: "N'Djamena")
        (request,) = llm.asked
        assert "capital of" in said(request)
        assert ("step by step" in said(request)) == thinks
        assert ("thought" in request.required_tags) == thinks
        assert (episode.reward.total, episode.reward.answer) == (1.0, "N'Djamena")


@pytest.mark.parametrize("votes", [1, 2, 3, 4, 5, 7])
def test_self_consistency_votes_over_as_many_samples_as_asked_for(votes: int) -> None:
    spoken = iter(["Niamey", "the N'Djamena!", "Niamey", "n'djamena", "N'Djamena", "Niamey", "Niamey", "x", "y"])
    given_in_order: list[str] = []

    def say(request: LLMRequest) -> str:
        assert request.temperature == 1.0
        given_in_order.append(next(spoken))
        return given_in_order[-1]

    episode, llm = play("self_consistency", say, BaselineSettings(votes=votes))
    assert len(llm.asked) == -(-votes // 3) * 3
    assert len({r.seed for r in llm.asked}) == len(llm.asked)
    counts = Counter(normalize_answer(a) for a in given_in_order[:votes])
    assert counts[normalize_answer(episode.reward.answer or "")] == max(counts.values())
    assert episode.reward.em == (1.0 if votes == 5 else 0.0)


@given(st.lists(st.sampled_from(["a", "B", "the b", "c.", "A!"]), max_size=9))
def test_a_majority_is_the_most_frequent_answer_and_ties_go_to_the_first(answers: list[str]) -> None:
    counts = Counter(map(normalize_answer, answers))
    best = [a for a in answers if counts[normalize_answer(a)] == max(counts.values())]
    assert majority(answers) == (best[0] if best else "unknown")


@pytest.mark.parametrize("plan", list(PLANS))
def test_a_fixed_workflow_makes_the_same_calls_whatever_it_reads(plan: str) -> None:
    replies = ["N'Djamena", "The solution is wrong.", "fail", "</tool></info><answer>x</answer>", "Operator: y"]
    episodes = [play("one_shot", lambda r, s=reply: s, BaselineSettings(plan=plan))[0] for reply in replies]
    for episode in episodes:
        assert called(episode) == [call.operator for call in PLANS[plan]]
        assert episode.stop is StopReason.ANSWERED
        assert not episode.failures


def test_later_steps_are_given_the_results_of_earlier_ones() -> None:
    replies = {"AnswerGenerate": "Niamey", "Review": "It is wrong.", "Revise": "N'Djamena"}
    episode, llm = play("one_shot", lambda r: replies[r.operator], BaselineSettings(plan="revise"))
    assert episode.reward.em == 1.0
    _, review, revise = llm.asked
    assert review.inputs["solution"] == ("Niamey",)
    assert revise.inputs["feedback"] == ("It is wrong.",)
    spoken = iter(["A", "B", "A", "A"])
    _, llm = play("one_shot", lambda r: next(spoken), BaselineSettings(plan="ensemble"))
    assert llm.asked[-1].inputs["solution"] == ("A", "B", "A")
    _, llm = play("one_shot", lambda r: "N'Djamena", BaselineSettings(plan="search"))
    assert "N'Djamena is the capital of Chad." in said(llm.asked[-1])


def test_a_written_plan_is_made_before_anything_runs_and_then_carried_out_as_it_is() -> None:
    plan = (
        "1. AnswerGenerate: {question}\nNonsense: x\n2) Search: {1} city\n"
        "Custom: <task>{2}</task><instruction>{1}</instruction>"
    )
    replies = iter([plan, "Niamey", "N'Djamena"])
    episode, llm = play(
        "one_shot", lambda r: next(replies), BaselineSettings(plan=WRITTEN, operators=POOL, most_calls=5)
    )
    assert called(episode) == ["Custom", "AnswerGenerate", "Search", "Custom"]
    assert all(name in said(llm.asked[0]) for name in POOL)
    assert "Niamey is in Niger." in llm.asked[-1].inputs["task"][0]
    assert episode.reward.em == 1.0
    hopeless, _ = play("one_shot", lambda r: "I cannot.", BaselineSettings(plan=WRITTEN, operators=POOL))
    assert called(hopeless) == ["Custom"]
    assert (hopeless.reward.em, hopeless.reward.answer, hopeless.failures) == (0.0, "unknown", ())


@pytest.mark.parametrize("method", list(BASELINES))
def test_an_operator_that_fails_costs_the_answer_and_nothing_else(method: str) -> None:
    episode, _ = play(method, lambda r: "fail")
    assert (episode.reward.total, episode.reward.answer, episode.failures) == (0.0, "unknown", ())


@given(st.text(max_size=200) | st.lists(st.sampled_from(LINES), max_size=6).map("\n".join))
def test_any_text_is_a_plan_that_can_be_carried_out(text: str) -> None:
    calls = read_plan(text, POOL, 4)
    assert len(calls) <= 4
    results: list[str] = []
    for call in calls:
        assert call.operator in POOL
        assert "{question}" not in call.fill("Q", results)
        results.append("Answer: r")


def test_what_is_filled_in_is_not_read_as_a_place_again() -> None:
    assert Call("Search", "{1} of {question}").fill("{1}", ["Answer: {question}"]) == "{question} of {1}"
    assert result_answer("Answer: Answer: x") == "Answer: x"
    assert labelled("[Answer 1] a b [Answer 2] c") == ("a b", "c")
