"""AnswerGenerate: an answer from the expert's memory, with its reasoning."""

from __future__ import annotations

from harness.operators.base import LLMRequest
from harness.operators.completions import ANSWER_FORM, one_completion
from harness.operators.formatting import answer_text
from harness.operators.handles import asked_question
from harness.operators.llm.simulated import SimulatedLLM
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    return llm.answer(request.inputs["text"][0], request)


COMPLETION = Completion(
    template=f"Answer the question by thinking step by step.\nQuestion: {{text}}\n{ANSWER_FORM}",
    required=("thought", "answer"),
    simulate=_simulate,
)

SPEC = OperatorSpec(
    name="AnswerGenerate",
    role=Role.ANSWERS,
    summary="an expert answers a question from memory, with its reasoning",
    input_format="question",
    example="AnswerGenerate: What is the capital of Chad?",
    run=one_completion(answer_text),
    completion=COMPLETION,
    handles={"text": asked_question},
    demonstration=("Who wrote the novel The Glass Orchard?", "Answer: Mira Halvorsen"),
)
