"""WarningOp: what the environment says to a turn it cannot execute. The policy cannot call it."""

from __future__ import annotations

from harness.operators.base import OperatorSpec, Style
from harness.types import OperatorFailure, OperatorResult

NAME = "WarningOp"

SPEC = OperatorSpec(
    name=NAME,
    summary="names the two permitted forms of a turn",
    input_format="",
    example="",
    run=None,
    needs_llm=False,
)

FULL_FORMS = (
    "Every turn must be <think>your reasoning</think> followed by exactly one of "
    "<tool>OperatorName: input</tool> or <answer>final answer</answer>."
)
COMPACT_FORMS = "Write <think>…</think><tool>Name: input</tool> or <think>…</think><answer>…</answer>."


def warning(style: Style, reason: str = "") -> OperatorResult:
    """The format warning, with `reason` (one sentence) before it if given."""
    forms = COMPACT_FORMS if style == "compact" else FULL_FORMS
    return OperatorResult(operator=NAME, text=f"{reason} {forms}".strip())


def unknown_operator(message: str) -> OperatorResult:
    """A call of a name outside the pool; `message` says which names there are."""
    return OperatorResult(operator=NAME, text=message, failure=OperatorFailure.UNKNOWN_OPERATOR)
