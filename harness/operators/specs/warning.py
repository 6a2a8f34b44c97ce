"""WarningOp: the environment's reply to a turn that it cannot execute. The policy cannot call it.

Its text on malformed turns comes from `harness.protocol.warning_text`, because the forms it names belong to a grammar.
"""

from __future__ import annotations

from harness.operators.roles import Role
from harness.operators.spec import OperatorSpec
from harness.types import OperatorFailure, OperatorResult

SPEC = OperatorSpec(
    name="WarningOp",
    role=Role.WARNS,
    summary="names the two permitted forms of a turn",
    input_format="",
    example="",
    run=None,
)


def warning(text: str, failure: OperatorFailure | None = None) -> OperatorResult:
    """The reply `text` to a turn that is malformed, or calls what it cannot."""
    return OperatorResult(SPEC.name, text, failure)
