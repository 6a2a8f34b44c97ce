"""Operators: what the policy may call. `OPERATORS` lists them, `Toolbox` runs a pool of them."""

from harness.operators.base import CallContext, LLMBackend, LLMRequest, LLMResponse, Retriever, SearchSettings, Style
from harness.operators.registry import CALLABLE, OPERATORS, POOLS, describe_pool, resolve_pool
from harness.operators.toolbox import Caller, Toolbox

__all__ = [
    "CALLABLE",
    "OPERATORS",
    "POOLS",
    "CallContext",
    "Caller",
    "LLMBackend",
    "LLMRequest",
    "LLMResponse",
    "Retriever",
    "SearchSettings",
    "Style",
    "Toolbox",
    "describe_pool",
    "resolve_pool",
]
