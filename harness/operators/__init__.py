"""Operators: what the policy may call. `OPERATORS` lists them, `Toolbox` runs a pool of them."""

from harness.operators.base import CallContext, LLMBackend, LLMRequest, LLMResponse, Retriever, SearchSettings, Style
from harness.operators.registry import CALLABLE, OPERATORS, POOLS, did_you_mean, resolve_pool
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
    "did_you_mean",
    "resolve_pool",
]
