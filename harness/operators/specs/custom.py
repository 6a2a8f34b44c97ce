"""Custom: a task carried out by the policy's own instruction."""

from __future__ import annotations

from harness.operators.base import LLMRequest
from harness.operators.completions import one_completion
from harness.operators.handles import asked_question
from harness.operators.llm.simulated import SimulatedLLM
from harness.operators.roles import Role
from harness.operators.spec import Completion, OperatorSpec


def _simulate(llm: SimulatedLLM, request: LLMRequest) -> str:
    return llm.answer(f"{request.inputs['instruction'][0]} {request.inputs['task'][0]}", request)


SPEC = OperatorSpec(
    name="Custom",
    role=Role.ANSWERS,
    summary="an expert carries out a task by your own instruction",
    input_format="<task>task</task><instruction>instruction</instruction>",
    example="Custom: <task>Chad borders Niger and Libya.</task><instruction>Count the borders.</instruction>",
    run=one_completion(lambda tags, style: f"Answer: {tags['answer']}"),
    tags={"task": 1, "instruction": 1},
    handles={"task": asked_question},
    completion=Completion(
        template=(
            "Task: {task}\nInstruction: {instruction}\n"
            "Follow the instruction and write <answer>the result, as short as possible</answer>."
        ),
        required=("answer",),
        simulate=_simulate,
    ),
)
