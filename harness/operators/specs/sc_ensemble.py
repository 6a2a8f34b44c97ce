"""ScEnsemble: the best of several solutions, by self-consistency."""

from __future__ import annotations

from harness.operators.base import LLMRequest, uniform
from harness.operators.completions import one_completion
from harness.operators.formatting import answer_text
from harness.operators.handles import asked_question, labelled_answers
from harness.operators.llm.knowledge_base import words
from harness.operators.llm.simulated import SimulatedLLM, answer_elements, bare_answer, states
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    """A right solution, where there is one, at the rate `ensemble_picks_right`; otherwise the commonest wrong one.

    Drawn once for a set of solutions.
    """
    context = request.context
    asked = llm.understand(request.inputs["query"][0], context.question)
    bare = [bare_answer(solution) for solution in request.inputs["solution"]]
    right = [b for b in bare if asked is not None and states(b, asked.right)]
    wrong = [b for b in bare if b not in right]
    draw = uniform("ensemble", context.seed, context.question.id, sorted(map(words, bare)))
    if right and (not wrong or draw < llm.rates.ensemble_picks_right):
        return answer_elements("It is the most plausible one.", right[0])
    most = max(wrong, key=lambda b: (wrong.count(b), -wrong.index(b)))
    return answer_elements("It is the most consistent one.", most)


SPEC = OperatorSpec(
    name="ScEnsemble",
    role=Role.CHOOSES,
    summary="chooses the best of two or more solutions",
    input_format="<query>question</query><solution>first</solution><solution>second</solution>",
    example="ScEnsemble: <query>What is the capital of Chad?</query><solution>Niamey</solution>"
    "<solution>N'Djamena</solution>",
    run=one_completion(answer_text),
    tags={"query": 1, "solution": 2},
    handles={"query": asked_question, "solution": labelled_answers},
    completion=Completion(
        template=(
            "Several solutions of one question were proposed. Choose the most consistent and most plausible one.\n"
            "Question: {query}\n{solution}\n"
            "Write <thought>why</thought> and then <answer>the chosen answer, copied</answer>."
        ),
        required=("thought", "answer"),
        simulate=_simulate,
    ),
)
