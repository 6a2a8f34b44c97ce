"""Bytes on one worker by component, as a pure function of the workload.

Activations are what autograd keeps for the backward pass, counted tensor by tensor in the forward of transformers'
Qwen2 and Llama layers with a fused attention kernel; tests compare them with the tensors that are kept, and
the sum with the allocator's measured peak. Numbers are for full micro-batches and, in the rollout, for
episodes that all run to their limit: a bound that short episodes stay below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.policy.logprobs import CHUNK_ELEMENTS
from harness.sweep.memory_plan.shapes import ModelShape

F32, BF16, F64 = 4, 2, 8


class Phase(StrEnum):
    """Phases of a trial in which memory can peak."""

    START = "start-up"  # weights on their way to where they stay
    ROLLOUT = "rollout"
    LOSS = "output layer"  # forward done, logits under way
    BACKWARD = "backward pass"
    EMBEDDING = "gradient of the embedding"  # end of the backward pass
    SYNC = "weight sync"  # new weights on their way to the engine
    SAVE = "saving"  # whole weights and optimizer states on their way to main memory


ALWAYS = frozenset(Phase)
RUNNING = ALWAYS - {Phase.START}
UPDATE = frozenset({Phase.LOSS, Phase.BACKWARD, Phase.EMBEDDING})


@dataclass(frozen=True, slots=True)
class Workload:
    """Settings that determine a trial's memory.

    `dtype_bytes`: of a weight, 2 or 4; `tokens`: padded tokens of a micro-batch; `episodes`: played at once by a
    worker; `positions`: longest sequence in tokens; `workers`: over which weights are sharded. `engine_share`: share
    of the worker's GPU that vLLM takes for itself, None with the built-in engine, 0 when vLLM has its own GPUs;
    `engine_cache`: bytes of vLLM's cache, None for what its share leaves; `engine_bytes`: of a weight as vLLM holds it;
    `chunk`: logits held at once by the loss.
    """

    shape: ModelShape
    dtype_bytes: int
    autocast: bool
    lora_rank: int | None
    checkpointing: bool
    reference: bool
    tokens: int
    episodes: int
    positions: int
    workers: int = 1
    engine_share: float | None = None
    engine_cache: int | None = None
    engine_bytes: int = BF16
    chunk: int = CHUNK_ELEMENTS["cpu"]


@dataclass(frozen=True, slots=True)
class Component:
    """`size` bytes held in `phases`; `what` describes them."""

    name: str
    size: int
    phases: frozenset[Phase]
    what: str


def components(w: Workload) -> list[Component]:
    """Everything a worker holds, except vLLM's share of a GPU and the process before it loads a model."""
    s, n = w.shape, w.workers
    trained, moment_bytes = trained_parameters(w)
    adapters = trained if w.lora_rank is not None else 0
    weights = s.parameters * w.dtype_bytes + adapters * moment_bytes
    found = [
        Component("weights", weights // n, ALWAYS, f"{s.parameters + adapters:,} parameters{_over(n)}"),
        Component("gradients", trained * moment_bytes // n, UPDATE, f"of {trained:,} parameters{_over(n)}"),
        Component("optimizer", 2 * trained * moment_bytes // n, ALWAYS, f"two moments of AdamW{_over(n)}"),
    ]
    if w.reference:
        size = 0 if adapters else s.parameters * w.dtype_bytes // n
        found.append(Component("reference", size, ALWAYS, "the frozen base" if adapters else f"frozen copy{_over(n)}"))
    if n > 1:
        found += [
            Component("arriving weights", _arriving(w), _phases(Phase.START), "what is sharded next, still whole"),
            Component("gathered weights", _gathered(w), UPDATE, "full root and two layers (FSDP2)"),
        ]
    kept = "the input of every layer" if w.checkpointing else "all layers"
    found.append(
        Component("activations", activations(w), _phases(Phase.LOSS, Phase.BACKWARD), f"{kept}, {w.tokens:,} tokens")
    )
    if w.checkpointing:
        found.append(Component("recomputed layer", layer_activations(w), _phases(Phase.BACKWARD), "one at a time"))
    found += [
        Component("layer gradients", _backward_buffers(w), _phases(Phase.BACKWARD), "of one layer's activations"),
        Component("logits", _logits(w), _phases(Phase.LOSS), f"in chunks of {_chunk(w):,} numbers"),
    ]
    if not adapters:
        table = s.vocab * s.hidden * w.dtype_bytes
        also = (Phase.BACKWARD,) if s.tied else ()
        found += [
            Component("output layer's gradient", table, _phases(Phase.LOSS, *also), "before it joins the others"),
            Component("embedding's gradient", (1 + s.tied) * table, _phases(Phase.EMBEDDING), "the same"),
        ]
    if w.engine_share is None:
        cache = 2 * s.layers * w.episodes * w.positions * s.keys * w.dtype_bytes
        found += [
            Component("engine weights", s.parameters * w.dtype_bytes, RUNNING, "the built-in engine's own copy"),
            Component("KV cache", cache, RUNNING, f"{w.episodes:,} episodes of {w.positions:,} tokens"),
            Component(
                "sampling", _sampling(w), _phases(Phase.ROLLOUT), f"next-token logits of {w.episodes:,} episodes"
            ),
        ]
    if adapters or n > 1:
        streamed = w.engine_share is not None  # vLLM takes one weight after the other
        what = "with adapters folded in" if adapters else "full"
        what += ", one at a time" if streamed else ""
        size = w.dtype_bytes * (s.vocab * s.hidden if streamed else s.parameters)
        found.append(Component("whole weights", size, _phases(Phase.SYNC, Phase.SAVE), what))
    return found


def peak(found: Sequence[Component]) -> tuple[int, Phase]:
    """The largest sum of bytes held in one phase, and that phase."""
    sums = {phase: sum(c.size for c in found if phase in c.phases) for phase in Phase}
    phase = max(sums, key=lambda p: sums[p])
    return sums[phase], phase


def _phases(*phases: Phase) -> frozenset[Phase]:
    return frozenset(phases)


def activations(w: Workload) -> int:
    """Bytes that autograd keeps of a micro-batch's forward pass."""
    s = w.shape
    if w.lora_rank is not None:  # norm and embedding are frozen: the states that predict policy tokens, no more
        last = w.tokens * s.hidden * w.dtype_bytes
    else:  # the last norm's input, normalised states before and after its weight, its scale
        last = w.tokens * (s.hidden * (F32 + 2 * w.dtype_bytes) + F32)
    if not w.checkpointing:
        return s.layers * layer_activations(w) + last
    if w.lora_rank is not None:
        last += w.tokens * (
            s.hidden * F32 + F32
        )  # the last norm's input, else counted as a first layer's that is not kept
    return s.layers * w.tokens * s.hidden * w.dtype_bytes + last


def layer_activations(w: Workload) -> int:
    """Bytes that autograd keeps of one decoder layer: `w.tokens` tokens, and bfloat16 copies of float32 weights.

    In the sums h, q, k, i, a are the widths of hidden state, queries, keys, MLP and the number of heads. Norms run in
    float32 whatever the rest does; a linear map keeps its input, attention q, k, v, its output and a log-sum-exp a
    head, the gated MLP gate, SiLU(gate), up and their product.
    """
    s = w.shape
    h, q, k, i, a = s.hidden, s.queries, s.keys, s.intermediate, s.heads
    lora = w.lora_rank
    compute = BF16 if w.autocast or w.dtype_bytes == BF16 else F32
    casts = w.autocast and w.dtype_bytes == F32
    copies = 0
    norms = F32 * (2 * h + 2 + a)  # both norms' inputs and scales; attention's log-sum-exp
    if lora is None:
        if casts:  # each linear map keeps a bfloat16 input of its own; q, k and v share none
            per_token = norms + F32 * 2 * h + BF16 * (5 * h + q + q + 2 * k + 4 * i)
            copies = BF16 * s.layer_matrix_parameters
        else:  # normalised states (before and after the norm's weight), q, attention's output, k, v
            per_token = norms + compute * (2 * h + 2 * h + 2 * q + 2 * k + 4 * i)
    else:
        adapters = lora * sum(x + y for x, y in s.matrices)
        if w.autocast:
            per_token = norms + BF16 * (5 * h + 3 * q + 2 * k + 4 * i + 7 * lora)
            copies = BF16 * (adapters + (s.layer_matrix_parameters if casts else 0))
        elif compute == F32:
            per_token = norms + F32 * (2 * h + 2 * q + 2 * k + 4 * i + 7 * lora)
        else:  # float32 adapters on bfloat16 weights: each takes a float32 copy of its input
            per_token = norms + F32 * (5 * h + q + 7 * lora + i) + BF16 * (2 * q + 2 * k + 3 * i)
    return w.tokens * per_token + copies


def trained_parameters(w: Workload) -> tuple[int, int]:
    """How many parameters are trained, and the bytes of each (PEFT keeps adapters in float32)."""
    if w.lora_rank is None:
        return w.shape.parameters, w.dtype_bytes
    return w.shape.lora_parameters(w.lora_rank), F32


def _arriving(w: Workload) -> int:
    """A layer, or the root: FSDP moves each to the GPU whole and keeps a part of it."""
    return w.dtype_bytes * max(w.shape.outer_parameters, w.shape.layer_parameters)


def _gathered(w: Workload) -> int:
    s = w.shape
    held = s.outer_parameters + 2 * s.layer_parameters
    return w.dtype_bytes * held * (2 if w.lora_rank is None else 1)  # and as many gradients on their way


def _backward_buffers(w: Workload) -> int:
    s = w.shape
    compute = BF16 if w.autocast or w.dtype_bytes == BF16 else F32
    return w.tokens * (compute * 3 * s.intermediate + F32 * 3 * s.hidden)


def _chunk(w: Workload) -> int:
    return min(max(w.chunk, w.shape.vocab), w.tokens * w.shape.vocab)


def _logits(w: Workload) -> int:
    """Float32 tensors of a chunk's size: logits, probabilities, their product; and the states' gradient.

    A frozen output layer takes its gradient in the forward pass, where two chunks overlap. Of a float32 output layer
    autocast makes a bfloat16 copy a chunk.
    """
    held = 3 if w.lora_rank is None or w.tokens * w.shape.vocab <= w.chunk else 4
    cast = BF16 * w.shape.vocab * w.shape.hidden if w.autocast and w.dtype_bytes == F32 else 0
    return _chunk(w) * held * F32 + w.tokens * w.shape.hidden * w.dtype_bytes + cast


def _sampling(w: Workload) -> int:
    return w.episodes * w.shape.vocab * (w.dtype_bytes + 3 * F32 + F64)


def _over(n: int) -> str:
    return f" / {n} workers" if n > 1 else ""
