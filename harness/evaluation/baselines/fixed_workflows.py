"""Workflows fixed before execution: operator calls whose inputs name the question and earlier results.

    {question}      the question
    {2}             the result of the second call, without its label (`Answer: `)
    {1:solutions}   every answer in the first call's result, each in a <solution> element

Results never change the plan; the last call's result is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.operators.base import labelled
from harness.operators.specs import (
    answer_generate,
    custom,
    multi_answer_generate,
    review,
    revise,
    sc_ensemble,
    search,
)

_PLACE = re.compile(r"\{(question|\d+(?::solutions)?)\}")
_LINE = re.compile(r"^\s*(?:\d+\s*[.):]\s*)?(\w+)\s*:\s*(\S.*)$")
_LABEL = re.compile(r"^(?:Answer|Feedback|Query): ")
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Call:
    """One planned call: the operator and its input with places to fill."""

    operator: str
    template: str

    def needs(self) -> set[int]:
        """Numbers of the calls (from 1) whose results the input names."""
        return {int(place.partition(":")[0]) for place in _PLACE.findall(self.template) if place != "question"}

    def fill(self, question: str, results: Sequence[str]) -> str:
        """The input, given the results so far."""

        def put(match: re.Match[str]) -> str:
            name, _, form = match[1].partition(":")
            if name == "question":
                return question
            result = results[int(name) - 1]
            return "".join(f"<solution>{c}</solution>" for c in labelled(result)) if form else body(result)

        return _PLACE.sub(put, self.template)


PLANS: Mapping[str, tuple[Call, ...]] = {
    "revise": (
        Call(answer_generate.SPEC.name, "{question}"),
        Call(review.SPEC.name, "<question>{question}</question><solution>{1}</solution>"),
        Call(revise.SPEC.name, "<question>{question}</question><solution>{1}</solution><feedback>{2}</feedback>"),
    ),
    "ensemble": (
        Call(multi_answer_generate.SPEC.name, "{question}"),
        Call(sc_ensemble.SPEC.name, "<query>{question}</query>{1:solutions}"),
    ),
    "search": (
        Call(search.SPEC.name, "{question}"),
        Call(
            custom.SPEC.name,
            "<task>Question: {question} Passages: {1}</task>"
            "<instruction>Answer the question by the passages, with the answer alone.</instruction>",
        ),
    ),
}
"""Plans for all questions alike, as a workflow found by search on a validation set would be."""

WRITTEN = "written"
"""Name of the plan that the operator LLM writes for each question, before anything is executed."""


def body(result: str) -> str:
    """A result without its label."""
    return _LABEL.sub("", result.strip())


def result_answer(result: str) -> str:
    """The answer a result gives; `unknown` when the operator failed."""
    label, found, answer = result.strip().partition("Answer: ")
    return answer.strip() if found and not label and answer.strip() else UNKNOWN


def read_plan(text: str, operators: Collection[str], most: int) -> tuple[Call, ...]:
    """Parse a written plan with one call a line; lines that are no call of one of the `operators` are skipped.

    At most `most` calls. A call that names a later result ends the plan.
    """
    calls: list[Call] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None or match[1] not in operators:
            continue
        call = Call(match[1], match[2].strip())
        if len(calls) == most or not call.needs() <= set(range(1, len(calls) + 1)):
            break
        calls.append(call)
    return tuple(calls)
