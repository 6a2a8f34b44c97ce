"""Observations of operator calls: results, corrective messages, failures, as the policy reads them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.operators.base import LLMResponse, Style
from harness.operators.spec import OperatorSpec
from harness.types import OperatorFailure, OperatorResult

FAILURE_TEXT: dict[OperatorFailure, str] = {
    OperatorFailure.TIMEOUT: "did not answer in time",
    OperatorFailure.SERVER_ERROR: "is not available at the moment",
    OperatorFailure.RATE_LIMITED: "has too many requests at the moment",
    OperatorFailure.BAD_RESPONSE: "gave an unreadable reply",
    OperatorFailure.MISSING_OUTPUT_TAG: "gave an incomplete reply",
}


def result(operator: str, text: str, response: LLMResponse) -> OperatorResult:
    """An operator result that carries the costs of `response`; a failed response gets a visible text instead."""
    return OperatorResult(
        operator=operator,
        text=failure_text(operator, response.failure) if response.failure else text,
        failure=response.failure,
        prompt_tokens=response.prompt_tokens,
        completion_tokens=response.completion_tokens,
        latency_s=response.latency_s,
        cost_usd=response.cost_usd,
        cached=response.cached,
        retries=response.retries,
    )


def answer_text(tags: Mapping[str, str], style: Style) -> str:
    """`Answer: …` (compact), after its `Thought: …` (full)."""
    answer = f"Answer: {tags['answer']}"
    return answer if style == "compact" else f"Thought: {tags['thought']}\n{answer}"


def failure_text(operator: str, failure: OperatorFailure) -> str:
    return f"{operator} {FAILURE_TEXT[failure]}. Try again or use another operator."


def corrective(spec: OperatorSpec, missing: list[str]) -> OperatorResult:
    """A message that names the missing inner tags and shows the whole form."""
    text = f"{spec.name} is missing {' and '.join(missing)}. Write {spec.name}: {spec.input_format}"
    return OperatorResult(operator=spec.name, text=text, failure=OperatorFailure.MISSING_INPUT)


def cut_middle(text: str, limit: int) -> str:
    """`text` cut in the middle to at most `limit` characters, the cut marked by an ellipsis."""
    if len(text) <= limit:
        return text
    mark = " … "
    keep = max(limit - len(mark), 0)
    head = (keep + 1) // 2
    return (text[:head] + mark + text[len(text) - (keep - head) :])[:limit]
