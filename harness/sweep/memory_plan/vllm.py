"""vLLM's share of a GPU: weights, memory reserved for activations, the rest as KV cache."""

from __future__ import annotations

from dataclasses import dataclass

from harness.sweep.memory_plan.gpus import Gpus
from harness.sweep.memory_plan.memory import F32, Component, Phase, Workload

AWAKE = frozenset({Phase.ROLLOUT, Phase.SYNC, Phase.SAVE})
"""vLLM starts after the start-up phase and sleeps during updates; it is awake while a checkpoint is gathered."""
BATCHED_TOKENS, SEQUENCES = 16_384, 1024
"""Of one pass: vLLM's defaults on GPUs of 70 GiB and more, with which it measures its activations at start-up."""


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes of a colocated vLLM; `tokens`: how many the cache holds, below 0 where it has no room."""

    weights: int
    cache: int
    rest: int
    tokens: int


def share_of(w: Workload, gpus: Gpus) -> Share:
    """vLLM's share for a workload with a positive `engine_share`."""
    assert w.engine_share
    s = w.shape
    weights = s.parameters * w.engine_bytes
    activations = BATCHED_TOKENS * (3 * s.intermediate + 4 * s.hidden) * w.engine_bytes
    rest = activations + 2 * SEQUENCES * s.vocab * F32
    cache = w.engine_cache if w.engine_cache is not None else int(w.engine_share * gpus.size) - weights - rest
    return Share(weights, cache, rest, cache // (2 * s.layers * s.keys * w.engine_bytes))


def engine_components(w: Workload, gpus: Gpus) -> list[Component]:
    """Components of vLLM's share; empty unless it shares the worker's GPU."""
    if not w.engine_share:
        return []
    share = share_of(w, gpus)
    at_once = max(0, share.tokens // w.positions)
    holds = f"{max(0, share.tokens):,} tokens: {at_once:,} of {w.episodes:,} episodes at full length, others wait"
    return [
        Component("vLLM: weights", share.weights, AWAKE, f"{w.engine_bytes} bytes each, asleep during updates"),
        Component("vLLM: KV cache", max(0, share.cache), AWAKE, holds),
        Component("vLLM: rest", share.rest, AWAKE, "an estimate of its activations; it measures them itself"),
    ]
