"""Completions of the LLM operators: request, check for the required tags, retry with a hint, sum up the costs.

Every prompt asks for XML-tagged output. The wording is this project's own; which operators exist, what they take and
what they return follows the paper's release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.operators.base import CallContext, Inputs, LLMRequest, LLMResponse, Services, Style, elements, uniform
from harness.operators.formatting import result
from harness.operators.spec import Completion, OperatorSpec, Run
from harness.types import OperatorFailure, OperatorResult

_SYSTEM = "You are a careful expert. Write exactly the XML elements that are asked for and nothing outside them."

ANSWER_FORM = (
    "Write <thought>your reasoning in a few sentences</thought> and then "
    "<answer>the answer alone, as short as possible</answer>."
)
"""End of the prompts that require `thought` and `answer`."""

Show = Callable[[Mapping[str, str], Style], str]
"""The observation for the policy, from the content of each required tag."""


def one_completion(show: Show) -> Run:
    """Execution by one completion at temperature 0, shown by `show`."""

    async def run(spec: OperatorSpec, inputs: Inputs, context: CallContext, services: Services) -> OperatorResult:
        tags, response = await complete(spec, inputs, context, services)
        return result(spec.name, show(tags, services.style) if tags else "", response)

    return run


def render(completion: Completion, inputs: Inputs) -> tuple[Mapping[str, str], ...]:
    """Chat messages of one operator call. Several elements of one tag are numbered, one a line."""
    fields = {
        tag: values[0] if len(values) == 1 else "\n".join(f"[Solution {i}] {v}" for i, v in enumerate(values, 1))
        for tag, values in inputs.items()
    }
    # str.format reads braces in the template only, never in the inserted text.
    user = completion.template.format(**fields)
    return ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": user})


def missing_tags(request: LLMRequest, text: str) -> list[str]:
    return [tag for tag in request.required_tags if not any(elements(text, tag))]


async def complete(
    spec: OperatorSpec,
    inputs: Inputs,
    context: CallContext,
    services: Services,
    temperature: float = 0.0,
    sample: int = 0,
) -> tuple[dict[str, str], LLMResponse]:
    """One completion with its required tags, retried with a hint (at most `services.tag_retries` times) while some are
    missing. `sample` distinguishes several completions of one call.

    Returns ({tag: first non-empty element}, response with summed costs). The tags are empty exactly when
    `response.failure` is set.
    """
    assert spec.completion is not None
    assert services.llm is not None, "Toolbox refuses LLM operators without a backend"
    seed = None
    if temperature > 0:
        seed = int(uniform("sample", context.seed, context.question.id, context.call_index, sample) * 2**31)
    request = LLMRequest(
        operator=spec.name,
        messages=render(spec.completion, inputs),
        required_tags=spec.completion.required,
        inputs=inputs,
        context=context,
        temperature=temperature,
        max_tokens=services.max_tokens,
        seed=seed,
        simulate=spec.completion.simulate,
    )
    total = LLMResponse(text="")
    for attempt in range(services.tag_retries + 1):
        response = await services.llm.complete(request)
        total = add_costs(total, response)
        if response.failure is not None:
            return {}, total
        missing = missing_tags(request, response.text)
        if not missing:
            return {tag: next(filter(None, elements(response.text, tag))) for tag in request.required_tags}, total
        if attempt < services.tag_retries:
            hint = (
                "Your reply lacked " + ", ".join(f"<{t}>…</{t}>" for t in missing) + ". Reply again with every element."
            )
            request = replace(
                request,
                messages=(
                    *request.messages,
                    {"role": "assistant", "content": response.text or "(empty)"},
                    {"role": "user", "content": hint},
                ),
            )
            total = replace(total, retries=total.retries + 1)
    return {}, replace(total, failure=OperatorFailure.MISSING_OUTPUT_TAG)


def add_costs(total: LLMResponse, new: LLMResponse) -> LLMResponse:
    """`new` with the tokens, latency, cost and retries of `total` added; cached only if every part was."""
    first = total == LLMResponse(text="")
    return replace(
        new,
        prompt_tokens=total.prompt_tokens + new.prompt_tokens,
        completion_tokens=total.completion_tokens + new.completion_tokens,
        latency_s=total.latency_s + new.latency_s,
        cost_usd=total.cost_usd + new.cost_usd,
        retries=total.retries + new.retries,
        attempt_failures=total.attempt_failures + new.attempt_failures,
        cached=new.cached if first else total.cached and new.cached,
    )
