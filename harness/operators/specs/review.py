"""Review: feedback on a proposed solution of a question."""

from __future__ import annotations

from harness.operators.base import LLMRequest, elements, uniform
from harness.operators.completions import one_completion
from harness.operators.handles import asked_question
from harness.operators.llm.knowledge_base import phrase, words
from harness.operators.llm.simulated import SimulatedLLM, bare_answer, states
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec

CORRECT = "The solution is correct."
WRONG = "The solution is wrong."


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """A verdict that errs at the rates `review_rejects_right` and `review_accepts_wrong`.

    It is drawn once for a solution: asking again gives the same, also where another seed continues the episode.
    """
    context, solution = request.context, words(bare_answer(request.inputs["solution"][0]))
    for past in context.earlier:
        reviewed = elements(past.text, "solution") if past.role is Role.REVIEWS else ()
        if reviewed and words(bare_answer(reviewed[0])) == solution and not past.result.failure:
            said = past.result.fault.true_text if past.result.fault else past.result.text
            return f"<feedback>{said.removeprefix('Feedback:').strip()}</feedback>"
    asked = llm.understand(request.inputs["question"][0], context.question)
    if asked is None:
        return "<feedback>The question is unclear.</feedback>"
    draw = uniform("review", context.seed, context.question.id, solution)
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
    handles={"question": asked_question},
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
