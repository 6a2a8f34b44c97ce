"""WarningOp: what the environment says to a turn it cannot execute. The policy cannot call it.

Its text on malformed turns comes from `harness.protocol.warning_text`, because the forms it names belong to a grammar.
"""

from __future__ import annotations

from harness.operators.base import OperatorSpec
from harness.types import WARNING_OPERATOR, OperatorFailure, OperatorResult

NAME = WARNING_OPERATOR

SPEC = OperatorSpec(
    name=NAME,
    summary="names the two permitted forms of a turn",
    input_format="",
    example="",
    run=None,
    needs_llm=False,
)


def unknown_operator(message: str) -> OperatorResult:
    """A call of a name outside the pool; `message` says which names there are."""
    return OperatorResult(operator=NAME, text=message, failure=OperatorFailure.UNKNOWN_OPERATOR)
