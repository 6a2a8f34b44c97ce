"""Operators that produce an answer or a better query: AnswerGenerate, MultiAnswerGenerate, Custom, PromptOptimizer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.operators.base import CallContext, Inputs, OperatorSpec, Services, Style
from harness.operators.formatting import result
from harness.operators.prompts import add_costs, ask
from harness.types import OperatorResult

N_ANSWERS = 3


def thought_and_answer(tags: dict[str, str], style: Style) -> str:
    if not tags:
        return ""
    answer = f"Answer: {tags['answer']}"
    return answer if style == "compact" else f"Thought: {tags['thought']}\n{answer}"


async def answer_generate(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("AnswerGenerate", inputs, context, services)
    return result("AnswerGenerate", thought_and_answer(tags, services.style), response)


async def multi_answer_generate(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    """Three samples at `sample_temperature` (at temperature 0 they would be one answer three times).

    Fails only if all three fail; a failed sample among others is left out.
    """
    samples = await asyncio.gather(
        *(
            ask("MultiAnswerGenerate", inputs, context, services, services.sample_temperature, i)
            for i in range(N_ANSWERS)
        )
    )
    texts = [thought_and_answer(tags, services.style) for tags, _ in samples if tags]
    if services.style == "compact":
        texts = [text.removeprefix("Answer: ") for text in texts]
    text = (" " if services.style == "compact" else "\n").join(f"[Answer {i}] {t}" for i, t in enumerate(texts, 1))
    total = samples[0][1]
    for _, response in samples[1:]:
        total = add_costs(total, response)
    # The samples run at the same time: the call takes as long as the slowest.
    latency = max(response.latency_s for _, response in samples)
    return result(
        "MultiAnswerGenerate", text, replace(total, latency_s=latency, failure=None if texts else total.failure)
    )


async def custom(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("Custom", inputs, context, services)
    return result("Custom", f"Answer: {tags.get('answer', '')}", response)


async def prompt_optimizer(inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    tags, response = await ask("PromptOptimizer", inputs, context, services)
    text = f"Query: {tags.get('query', '')}"
    if services.style == "full":
        text = f"Thought: {tags.get('thought', '')}\n{text}"
    return result("PromptOptimizer", text, response)


SPECS = (
    OperatorSpec(
        name="AnswerGenerate",
        summary="an expert answers a question from memory, with its reasoning",
        input_format="question",
        example="AnswerGenerate: What is the capital of Chad?",
        run=answer_generate,
    ),
    OperatorSpec(
        name="Custom",
        summary="an expert carries out a task by your own instruction",
        input_format="<task>task</task><instruction>instruction</instruction>",
        example="Custom: <task>Chad borders Niger and Libya.</task><instruction>Count the borders.</instruction>",
        run=custom,
        tags={"task": 1, "instruction": 1},
    ),
    OperatorSpec(
        name="PromptOptimizer",
        summary="rewrites a vague query into a precise one",
        input_format="query",
        example="PromptOptimizer: the place where they govern Chad from",
        run=prompt_optimizer,
    ),
    OperatorSpec(
        name="MultiAnswerGenerate",
        summary="three independent answers to a question, labelled [Answer 1] to [Answer 3]",
        input_format="question",
        example="MultiAnswerGenerate: What is the capital of Chad?",
        run=multi_answer_generate,
    ),
)
