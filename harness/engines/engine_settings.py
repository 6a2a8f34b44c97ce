"""Settings of the inference engine. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.types import Constraint, Positive, SmallCount, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinSettings:
    """The harness's own decoder: small Qwen2 and Llama models on CPU."""

    kind: Literal["builtin"] = "builtin"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """vLLM (`make setup-vllm`); on CPU only for small trials and tests."""

    kind: Literal["vllm"] = "vllm"
    placement: Literal["colocated", "dedicated"] = "colocated"
    """colocated: on the trial's GPU, asleep during updates; dedicated: `tensor_parallel_size` GPUs of its own."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """null: the policy's. Weights trained in float32 are served in bfloat16 at half the memory, a little off."""
    tensor_parallel_size: SmallCount = 1
    """GPUs of the engine, each with a worker process of its own where there are several; on CPU it is 1."""
    gpu_memory_utilization: Annotated[float, Constraint(gt=0, le=1)] = 0.5
    """Share of a GPU for the engine's weights and cache together."""
    kv_cache_gib: Positive | None = None
    """Size of the cache; null: what the share leaves (GPU), 1 GiB (CPU)."""
    max_model_len: Tokens | None = None
    """Longest sequence in tokens, prompt and response; null: room for the longest prompt and response."""


EngineSettings = BuiltinSettings | VllmSettings
