"""Operators that the policy may call: `OPERATORS` lists their specifications, `Toolbox` runs a pool of them."""

from harness.operators.base import (
    CallContext,
    LLMBackend,
    LLMRequest,
    LLMResponse,
    Retriever,
    Style,
    spelling_hint,
)
from harness.operators.operator_settings import SearchSettings
from harness.operators.registry import CALLABLE, OPERATORS, POOLS, resolve_pool, with_role
from harness.operators.roles import ANSWERING, SECOND_LOOKS, Role
from harness.operators.spec import OperatorSpec
from harness.operators.toolbox import Caller, Toolbox

__all__ = [
    "ANSWERING",
    "CALLABLE",
    "OPERATORS",
    "POOLS",
    "SECOND_LOOKS",
    "CallContext",
    "Caller",
    "LLMBackend",
    "LLMRequest",
    "LLMResponse",
    "OperatorSpec",
    "Retriever",
    "Role",
    "SearchSettings",
    "Style",
    "Toolbox",
    "resolve_pool",
    "spelling_hint",
    "with_role",
]
