"""Revise: a better solution, by the feedback that the given one got."""

from __future__ import annotations

import re

from harness.operators.base import CallContext, LLMRequest, uniform
from harness.operators.completions import ANSWER_FORM, one_completion
from harness.operators.formatting import answer_text
from harness.operators.handles import asked_question, last_feedback, last_solution
from harness.operators.llm.knowledge_base import words
from harness.operators.llm.simulated import Asked, SimulatedLLM, answer_elements, bare_answer, states
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec

_NEGATIVE = re.compile(r"\b(wrong|incorrect|not (?:correct|right)|mistaken?|false|error|doubt\w*)\b", re.IGNORECASE)


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """The solution as it is, unless the feedback is negative and names a fact of the question.

    Then a wrong one is repaired at the rate `revise_fixes` where a passage read in the episode states the answer,
    `revise_fixes_blind` elsewhere; a right one is given up at the rate `revise_spoils`. Drawn once for a solution and
    its feedback.
    """
    context = request.context
    question, solution, feedback = (request.inputs[tag][0] for tag in ("question", "solution", "feedback"))
    asked = llm.understand(question, context.question)
    kept = bare_answer(solution)
    if asked is None or not _NEGATIVE.search(feedback) or not _names_a_fact(feedback, asked):
        return answer_elements("The solution stands.", kept)
    keys = ("revise", context.seed, context.question.id, words(kept), words(feedback))
    right = states(solution, asked.right)
    fixes = llm.rates.revise_fixes if _supported(asked.right, context) else llm.rates.revise_fixes_blind
    if uniform("draw", *keys) < (1 - llm.rates.revise_spoils if right else fixes):
        return answer_elements("On reflection:", kept if right else asked.right[0])
    return answer_elements("On reflection:", llm.mistake(asked.wrong, (*asked.right, kept), *keys))


def _names_a_fact(feedback: str, asked: Asked) -> bool:
    """Whether the feedback names what one of the facts is about."""
    said = set(words(feedback))
    return any(said.issuperset(words(fact.subject)) for fact in asked.facts)


def _supported(right: tuple[str, ...], context: CallContext) -> bool:
    """Whether a passage read in this episode states a right answer."""
    read = [words(past.result.text) for past in context.earlier if past.role is Role.RETRIEVES]
    values = [value for answer in right if (value := words(answer))]
    return any(text[i : i + len(v)] == v for text in read for v in values for i in range(len(text) - len(v) + 1))


SPEC = OperatorSpec(
    name="Revise",
    role=Role.REVISES,
    summary="improves a solution by the feedback it got",
    input_format="<question>question</question><solution>solution</solution><feedback>feedback</feedback>",
    example="Revise: <question>What is the capital of Chad?</question><solution>Niamey</solution>"
    "<feedback>Niamey lies in Niger.</feedback>",
    run=one_completion(answer_text),
    tags={"question": 1, "solution": 1, "feedback": 1},
    handles={"question": asked_question, "solution": last_solution, "feedback": last_feedback},
    completion=Completion(
        template=(
            "Improve the solution of the question in the light of the feedback.\n"
            "Question: {question}\nSolution: {solution}\nFeedback: {feedback}\n" + ANSWER_FORM
        ),
        required=("thought", "answer"),
        simulate=_simulate,
    ),
)
