"""Prompts of the LLM operators, all in one place, and the one function that asks and checks for the required tags.

Every prompt asks for XML-tagged output; `REQUIRED` says which tags a completion must hold. The wording is this
project's own; which operators exist, what they take and what they return follows the paper's release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.operators.base import CallContext, Inputs, LLMRequest, LLMResponse, Services, elements, uniform
from harness.types import OperatorFailure

_SYSTEM = "You are a careful expert. Write exactly the XML elements that are asked for and nothing outside them."

_ANSWER_FORM = (
    "Write <thought>your reasoning in a few sentences</thought> and then "
    "<answer>the answer alone, as short as possible</answer>."
)

TEMPLATES: Mapping[str, str] = {
    "AnswerGenerate": f"Answer the question by thinking step by step.\nQuestion: {{text}}\n{_ANSWER_FORM}",
    "MultiAnswerGenerate": f"Answer the question by thinking step by step.\nQuestion: {{text}}\n{_ANSWER_FORM}",
    "Custom": (
        "Task: {task}\nInstruction: {instruction}\n"
        "Follow the instruction and write <answer>the result, as short as possible</answer>."
    ),
    "PromptOptimizer": (
        "Rewrite the query so that it is precise, self-contained and easy to answer or to search for. "
        "Do not answer it.\nQuery: {text}\n"
        "Write <thought>what was unclear</thought> and then <query>the refined query</query>."
    ),
    "Review": (
        "Review the proposed solution of the question: is it right? Be critical and specific.\n"
        "Question: {question}\nSolution: {solution}\n"
        "Write <feedback>whether the solution is correct, and if not, what is wrong with it</feedback>."
    ),
    "Revise": (
        "Improve the solution of the question in the light of the feedback.\n"
        "Question: {question}\nSolution: {solution}\nFeedback: {feedback}\n" + _ANSWER_FORM
    ),
    "ScEnsemble": (
        "Several solutions of one question were proposed. Choose the most consistent and most plausible one.\n"
        "Question: {query}\n{solution}\n"
        "Write <thought>why</thought> and then <answer>the chosen answer, copied</answer>."
    ),
}

REQUIRED: Mapping[str, tuple[str, ...]] = {
    "AnswerGenerate": ("thought", "answer"),
    "MultiAnswerGenerate": ("thought", "answer"),
    "Custom": ("answer",),
    "PromptOptimizer": ("thought", "query"),
    "Review": ("feedback",),
    "Revise": ("thought", "answer"),
    "ScEnsemble": ("thought", "answer"),
}


def render(operator: str, inputs: Inputs) -> tuple[Mapping[str, str], ...]:
    """Chat messages of one operator call. Several elements of one tag are numbered, one a line."""
    fields = {
        tag: values[0] if len(values) == 1 else "\n".join(f"[Solution {i}] {v}" for i, v in enumerate(values, 1))
        for tag, values in inputs.items()
    }
    # str.format reads braces in the template only, never in the inserted text.
    user = TEMPLATES[operator].format(**fields)
    return ({"role": "system", "content": _SYSTEM}, {"role": "user", "content": user})


def missing_tags(request: LLMRequest, text: str) -> list[str]:
    return [tag for tag in request.required_tags if not any(elements(text, tag))]


async def ask(
    operator: str, inputs: Inputs, context: CallContext, services: Services, temperature: float = 0.0, sample: int = 0
) -> tuple[dict[str, str], LLMResponse]:
    """One completion with its required tags, asked again with a hint (at most `services.tag_retries` times) when some
    are missing. `sample` tells apart several completions of one call.

    Returns ({tag: first non-empty element}, response with summed costs). The tags are empty exactly when
    `response.failure` is set.
    """
    assert services.llm is not None, "Toolbox refuses LLM operators without a backend"
    seed = None
    if temperature > 0:
        seed = int(uniform("sample", context.seed, context.question.id, context.call_index, sample) * 2**31)
    request = LLMRequest(
        operator=operator,
        messages=render(operator, inputs),
        required_tags=REQUIRED[operator],
        inputs=inputs,
        context=context,
        temperature=temperature,
        max_tokens=services.max_tokens,
        seed=seed,
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
