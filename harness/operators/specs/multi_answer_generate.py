"""MultiAnswerGenerate: three independent answers to a question, each as AnswerGenerate's."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from harness.operators.base import CallContext, Inputs, Services
from harness.operators.completions import add_costs, complete
from harness.operators.formatting import answer_text, result
from harness.operators.handles import asked_question
from harness.operators.roles import Role
from harness.operators.spec import OperatorSpec
from harness.operators.specs.answer_generate import COMPLETION
from harness.types import OperatorResult

N_ANSWERS = 3


async def _run(spec: OperatorSpec, inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
    """Three samples at `sample_temperature` (at temperature 0 they would be one answer three times).

    Fails only if all three fail; a failed sample among others is left out.
    """
    samples = await asyncio.gather(
        *(complete(spec, inputs, context, services, services.sample_temperature, i) for i in range(N_ANSWERS))
    )
    texts = [answer_text(tags, services.style) for tags, _ in samples if tags]
    if services.style == "compact":
        texts = [text.removeprefix("Answer: ") for text in texts]
    text = (" " if services.style == "compact" else "\n").join(f"[Answer {i}] {t}" for i, t in enumerate(texts, 1))
    total = samples[0][1]
    for _, response in samples[1:]:
        total = add_costs(total, response)
    # The samples run at the same time: the call takes as long as the slowest.
    latency = max(response.latency_s for _, response in samples)
    return result(spec.name, text, replace(total, latency_s=latency, failure=None if texts else total.failure))


SPEC = OperatorSpec(
    name="MultiAnswerGenerate",
    role=Role.SAMPLES,
    summary="three independent answers to a question, labelled [Answer 1] to [Answer 3]",
    input_format="question",
    example="MultiAnswerGenerate: What is the capital of Chad?",
    run=_run,
    completion=COMPLETION,
    handles={"text": asked_question},
)
