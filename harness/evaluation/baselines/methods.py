"""Baselines: direct, chain of thought, self-consistency and a one-shot workflow, as scripts over the operators.

A baseline plays turns through the same rollout as a policy (`ScriptedEngine`), with the same operators, limits, faults,
reward and records. Its answers come from the operator LLM, and no result changes which call comes next:

    direct            one call without reasoning: an instruction to give the answer alone
    cot               one call with reasoning, step by step
    self_consistency  the answer that occurs most often (after normalisation; ties: the first) among `votes` samples of
                      chain of thought at temperature 1 (three a call)
    one_shot          a workflow fixed before execution: one of `PLANS`, or one the operator LLM writes for the question

The simulated expert recalls facts and has no scratchpad: with it, direct and cot differ only in their tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.evaluation.baselines.fixed_workflows import (
    PLANS,
    UNKNOWN,
    WRITTEN,
    Call,
    body,
    read_plan,
    result_answer,
)
from harness.operators import OPERATORS
from harness.operators.base import labelled
from harness.operators.specs import answer_generate, custom, multi_answer_generate
from harness.protocol import neutralise, normalize_answer
from harness.training.warm_start.scripted_agents import Script, turn
from harness.types import Question

DIRECT = "Give the answer alone, as short as possible, at once and without any explanation."
PLANNER = (
    "Write a workflow that answers the question. It is carried out exactly as written, and you see no result before it "
    "ends. One call a line, `Operator: input`. In an input, {{question}} stands for the question and {{1}} for the "
    "result of line 1. The last line's result is the answer. Use only these operators: {operators}. Write the lines "
    "and nothing else."
)


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """`votes`: samples of self-consistency; `plan`: a name of `PLANS`, or `written`; `operators`, `most_calls`:
    what a written plan may call, and how often."""

    votes: int = 5
    plan: str = "revise"
    operators: tuple[str, ...] = ()
    most_calls: int = 8


@dataclass(frozen=True, slots=True)
class Baseline:
    """`script` plays one question with the operators of `pool` and at most `calls` calls."""

    script: Callable[[Question, BaselineSettings], Script]
    pool: Callable[[BaselineSettings], tuple[str, ...]]
    calls: Callable[[BaselineSettings], int]


def direct(question: Question, settings: BaselineSettings) -> Script:
    call = custom.SPEC.call(task=_text(question), instruction=DIRECT)
    seen = yield turn("Ask for the answer.", tool=call)
    yield _answer(result_answer(_read(seen)))


def chain_of_thought(question: Question, settings: BaselineSettings) -> Script:
    seen = yield turn("Ask for reasoning and answer.", tool=answer_generate.SPEC.call(_text(question)))
    yield _answer(result_answer(_read(seen)))


def self_consistency(question: Question, settings: BaselineSettings) -> Script:
    answers: list[str] = []
    for _ in range(_rounds(settings)):
        seen = yield turn("Ask for samples.", tool=multi_answer_generate.SPEC.call(_text(question)))
        answers += labelled(_read(seen))
    yield _answer(majority(answers[: settings.votes]))


def one_shot(question: Question, settings: BaselineSettings) -> Script:
    if settings.plan == WRITTEN:
        offered = "; ".join(f"{name} ({OPERATORS[name].input_format})" for name in settings.operators)
        instruction = PLANNER.format(operators=offered)
        seen = yield turn("Plan.", tool=custom.SPEC.call(task=_text(question), instruction=instruction))
        plan: Sequence[Call] = read_plan(body(_read(seen)), settings.operators, settings.most_calls)
    else:
        plan = PLANS[settings.plan]
    results: list[str] = []
    for n, call in enumerate(plan, 1):
        seen = yield turn(f"Step {n} of {len(plan)}.", tool=f"{call.operator}: {call.fill(_text(question), results)}")
        results.append(_read(seen))
    yield _answer(result_answer(results[-1]) if results else UNKNOWN)


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer as it was first spelled; ties go to the one given first; `unknown` without answers."""
    keys = [normalize_answer(a) for a in answers]
    if not keys:
        return UNKNOWN
    counts = Counter(keys)
    return answers[keys.index(max(counts, key=lambda key: (counts[key], -keys.index(key))))]


def _rounds(settings: BaselineSettings) -> int:
    return -(-settings.votes // multi_answer_generate.N_ANSWERS)


def _plan_pool(settings: BaselineSettings) -> tuple[str, ...]:
    if settings.plan == WRITTEN:
        return tuple(dict.fromkeys((custom.SPEC.name, *settings.operators)))
    return tuple(dict.fromkeys(call.operator for call in PLANS[settings.plan]))


def _plan_calls(settings: BaselineSettings) -> int:
    return 1 + settings.most_calls if settings.plan == WRITTEN else len(PLANS[settings.plan])


def _text(question: Question) -> str:
    """The question without protocol tags, which would end the call that holds it."""
    return neutralise(question.text)


def _read(observation: str) -> str:
    return observation.removeprefix("<info>").removesuffix("</info>").strip()


def _answer(text: str) -> str:
    return turn("Done.", answer=text)


BASELINES: Mapping[str, Baseline] = {
    "direct": Baseline(direct, lambda s: (custom.SPEC.name,), lambda s: 1),
    "cot": Baseline(chain_of_thought, lambda s: (answer_generate.SPEC.name,), lambda s: 1),
    "self_consistency": Baseline(self_consistency, lambda s: (multi_answer_generate.SPEC.name,), _rounds),
    "one_shot": Baseline(one_shot, _plan_pool, _plan_calls),
}
