"""Operators that judge or improve given answers: Review, Revise, ScEnsemble."""

from __future__ import annotations

from harness.operators.base import CallContext, Inputs, OperatorSpec, Services
from harness.operators.formatting import result
from harness.operators.generate import thought_and_answer
from harness.operators.prompts import ask
from harness.types import OperatorResult


async def review(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("Review", inputs, context, services)
    return result("Review", f"Feedback: {tags.get('feedback', '')}", response)


async def revise(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("Revise", inputs, context, services)
    return result("Revise", thought_and_answer(tags, services.style), response)


async def sc_ensemble(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("ScEnsemble", inputs, context, services)
    return result("ScEnsemble", thought_and_answer(tags, services.style), response)


SPECS = (
    OperatorSpec(
        name="Review",
        summary="checks a proposed solution of a question and gives feedback",
        input_format="<question>question</question><solution>solution</solution>",
        example="Review: <question>What is the capital of Chad?</question><solution>Niamey</solution>",
        run=review,
        tags={"question": 1, "solution": 1},
    ),
    OperatorSpec(
        name="Revise",
        summary="improves a solution by the feedback it got",
        input_format="<question>question</question><solution>solution</solution><feedback>feedback</feedback>",
        example="Revise: <question>What is the capital of Chad?</question><solution>Niamey</solution>"
        "<feedback>Niamey lies in Niger.</feedback>",
        run=revise,
        tags={"question": 1, "solution": 1, "feedback": 1},
    ),
    OperatorSpec(
        name="ScEnsemble",
        summary="chooses the best of two or more solutions",
        input_format="<query>question</query><solution>first</solution><solution>second</solution>",
        example="ScEnsemble: <query>What is the capital of Chad?</query><solution>Niamey</solution>"
        "<solution>N'Djamena</solution>",
        run=sc_ensemble,
        tags={"query": 1, "solution": 2},
    ),
)
