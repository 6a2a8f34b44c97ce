"""Revise: a better solution, by the feedback that the given one got."""

from __future__ import annotations

import re

from harness.operators.base import LLMRequest
from harness.operators.completions import ANSWER_FORM, one_completion
from harness.operators.formatting import answer_text
from harness.operators.llm.simulated import SimulatedLLM, answer_elements, bare_answer, call_draw, states
from harness.operators.spec import Completion, OperatorSpec, Role

_NEGATIVE = re.compile(r"\b(wrong|incorrect|not (?:correct|right)|mistaken?|false|error|doubt\w*)\b", re.IGNORECASE)


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """The solution as it is, unless the feedback is negative: then repaired or given up, at the rates `revise_fixes`
    and `revise_spoils`."""
    context = request.context
    question, solution, feedback = (request.inputs[tag][0] for tag in ("question", "solution", "feedback"))
    asked = llm.understand(question, context.question)
    kept = bare_answer(solution)
    if asked is None or not _NEGATIVE.search(feedback):
        return answer_elements("The solution stands.", kept)
    draw = call_draw("revise", context)
    right = states(solution, asked.right)
    if draw < (1 - llm.rates.revise_spoils if right else llm.rates.revise_fixes):
        return answer_elements("On reflection:", kept if right else asked.right[0])
    keys = ("revise", context.seed, context.question.id, context.call_index)
    return answer_elements("On reflection:", llm.mistake(asked.wrong, (*asked.right, kept), *keys))


SPEC = OperatorSpec(
    name="Revise",
    role=Role.REVISES,
    summary="improves a solution by the feedback it got",
    input_format="<question>question</question><solution>solution</solution><feedback>feedback</feedback>",
    example="Revise: <question>What is the capital of Chad?</question><solution>Niamey</solution>"
    "<feedback>Niamey lies in Niger.</feedback>",
    run=one_completion(answer_text),
    tags={"question": 1, "solution": 1, "feedback": 1},
    completion=Completion(
        template=(
            "Improve the solution of the question in the light of the feedback.\n"
            "Question: {question}\nSolution: {solution}\nFeedback: {feedback}\n" + ANSWER_FORM
        ),
        required=("thought", "answer"),
        simulate=_simulate,
    ),
)
