"""Review: feedback on a proposed solution of a question."""

from __future__ import annotations

from harness.operators.base import LLMRequest
from harness.operators.completions import one_completion
from harness.operators.llm.knowledge_base import phrase
from harness.operators.llm.simulated import SimulatedLLM, call_draw, states
from harness.operators.spec import Completion, OperatorSpec, Role

CORRECT = "The solution is correct."
WRONG = "The solution is wrong."


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """A verdict that errs at the rates `review_rejects_right` and `review_accepts_wrong`."""
    context = request.context
    asked = llm.understand(request.inputs["question"][0], context.question)
    if asked is None:
        return "<feedback>The question is unclear.</feedback>"
    draw = call_draw("review", context)
    if states(request.inputs["solution"][0], asked.right):
        accepts = draw >= llm.rates.review_rejects_right
    else:
        accepts = draw < llm.rates.review_accepts_wrong
    return f"<feedback>{CORRECT if accepts else f'{WRONG} Check the {phrase(asked.facts[0])}.'}</feedback>"


SPEC = OperatorSpec(
    name="Review",
    role=Role.REVIEWS,
    summary="checks a proposed solution of a question and gives feedback",
    input_format="<question>question</question><solution>solution</solution>",
    example="Review: <question>What is the capital of Chad?</question><solution>Niamey</solution>",
    run=one_completion(lambda tags, style: f"Feedback: {tags['feedback']}"),
    tags={"question": 1, "solution": 1},
    completion=Completion(
        template=(
            "Review the proposed solution of the question: is it right? Be critical and specific.\n"
            "Question: {question}\nSolution: {solution}\n"
            "Write <feedback>whether the solution is correct, and if not, what is wrong with it</feedback>."
        ),
        required=("feedback",),
        simulate=_simulate,
    ),
)
