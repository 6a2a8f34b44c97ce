"""The memory plan against a GPU's allocator, at the sizes it is for: `python -m tests.benchmarks.memory_plan_gpu`.

Each case builds a model of a published shape (Qwen2.5's; random weights, which take as much room as trained ones), and
trains it as a trial does whose engine has GPUs of its own: two updates of two full micro-batches, then the weights pass
by for the engine, one at a time. `planned` and `tensors` (what tensors held at most) are compared; `reserved` is what
torch held of the GPU. Speed is beside it: tokens a second of an update, and its share of the bfloat16 product measured
in the same process (a multiply-add counts two; forward, again with gradient checkpointing, gradients of inputs, and of
weights where they are trained; without attention's own products).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from harness.engines.weights import plain_weights
from harness.objectives.clip import FixedClip
from harness.policy.load import Policy, recompute_activations, reference_of, with_lora
from harness.policy.logprobs import CHUNK_ELEMENTS
from harness.policy.policy_settings import LoraSettings
from harness.sweep.memory_plan.memory import Phase, Workload, components
from harness.sweep.memory_plan.shapes import PUBLISHED, ModelShape
from harness.training.update import policy_update
from tests.support.real_memory import groups_of
from tests.support.update_config import update_config

GOAL = 0.12
LENGTH = 2048
LORA: dict[str, Any] = {"dtype_bytes": 2, "lora_rank": 64, "checkpointing": True}
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("Qwen/Qwen2.5-7B", 16384, LORA),
    ("Qwen/Qwen2.5-7B", 16384, LORA | {"reference": True}),
    ("Qwen/Qwen2.5-1.5B", 16384, {"checkpointing": True, "reference": True}),
    ("Qwen/Qwen2.5-0.5B", 8192, {}),
]
"""Shape, tokens of a micro-batch, and what differs from training every float32 weight under autocast."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes, and seconds of the faster of two updates."""

    tensors: int
    reserved: int
    seconds: float
    product: float
    """Operations a second of a bfloat16 matrix product."""


def workload(shape: str, tokens: int, **settings: Any) -> Workload:
    plain: dict[str, Any] = {
        "dtype_bytes": 4, "autocast": True, "lora_rank": None, "checkpointing": False, "reference": False,
        "engine_share": 0.0, "chunk": CHUNK_ELEMENTS["cuda"],
    }  # fmt: skip
    return Workload(PUBLISHED[shape], tokens=tokens, episodes=tokens // LENGTH, positions=LENGTH, **plain | settings)


def planned(w: Workload) -> int:
    """The largest sum of the phases that are measured here."""
    return max(sum(c.size for c in components(w) if phase in c.phases) for phase in set(Phase) - {Phase.START})


def measure(w: Workload) -> Measured:
    product = best_product()
    groups = groups_of(w.shape.vocab, 2 * w.episodes, LENGTH)
    policy = make_policy(w)
    reference = reference_of(policy, 1.0, w.autocast) if w.reference else None
    optimizer = torch.optim.AdamW(policy.trainable, lr=1e-6, fused=True)
    settings = update_config(
            ratio_unit="token", reduction="N3", kl_weight=0.1 if w.reference else 0.0, tokens_per_microbatch=w.tokens,
            max_grad_norm=1.0, autocast=w.autocast,
        )  # fmt: skip
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(2):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        policy_update(policy.model, optimizer, groups, FixedClip(0.2, 0.2), settings, reference)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
    for _ in plain_weights(policy.model):
        pass
    return Measured(torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved(), min(seconds), product)


def make_policy(w: Workload) -> Policy:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    s = w.shape
    config = Qwen2Config(
        vocab_size=s.vocab, hidden_size=s.hidden, intermediate_size=s.intermediate, num_hidden_layers=s.layers,
        num_attention_heads=s.heads, num_key_value_heads=s.kv_heads, tie_word_embeddings=s.tied,
        max_position_embeddings=LENGTH, attention_dropout=0.0,
    )  # fmt: skip
    torch.set_default_dtype(torch.float32 if w.dtype_bytes == 4 else torch.bfloat16)
    try:
        with torch.device("cuda"):
            model = Qwen2ForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    policy = Policy(model, chat=None)  # type: ignore[arg-type]
    if w.lora_rank is not None:
        policy = with_lora(policy, LoraSettings(w.lora_rank, 2.0 * w.lora_rank), 0)
    if w.checkpointing:
        recompute_activations(policy)
    return policy


def operations(w: Workload) -> float:
    """Of an update of two full micro-batches: multiply-adds of the linear maps, counted two each."""
    s: ModelShape = w.shape
    layers, head = s.layers * s.layer_matrix_parameters, s.vocab * s.hidden
    trained = 0 if w.lora_rank is not None else 1
    passes = 2 + trained + w.checkpointing + w.reference
    return 2.0 * 2 * w.tokens * (layers * passes + head * (2 + trained + w.reference))


def best_product() -> float:
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b, best = torch.randn_like(a), float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * 8192**3 / best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    case = parser.parse_args().case
    if not torch.cuda.is_available():
        raise SystemExit("memory_plan_gpu: needs a CUDA device; `tests.benchmarks.memory_plan` measures on CPU")
    if case is not None:
        shape, tokens, settings = CASES[case]
        found = measure(workload(shape, tokens, **settings))
        print(json.dumps([found.tensors, found.reserved, found.seconds, found.product]))
        return
    print(torch.cuda.get_device_name(0), f"{torch.cuda.get_device_properties(0).total_memory / 1e9:.1f} GB")
    worst = 0.0
    for i, (shape, tokens, settings) in enumerate(CASES):
        w = workload(shape, tokens, **settings)
        command = [sys.executable, "-m", "tests.benchmarks.memory_plan_gpu", "--case", str(i)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # a fresh allocator each
        found = Measured(*json.loads(done.stdout.splitlines()[-1]))
        error = planned(w) / found.tensors - 1
        worst = max(worst, abs(error))
        rate = operations(w) / found.seconds / found.product
        sizes = f"planned {planned(w) / 1e9:.2f} GB, tensors {found.tensors / 1e9:.2f} GB ({error:+.1%})"
        more = f"reserved {found.reserved / found.tensors - 1:.1%} more"
        speed = f"{2 * tokens / found.seconds:,.0f} tokens/s, {rate:.0%} of {found.product / 1e12:.0f} TFLOP/s"
        print(
            f"{shape.removeprefix('Qwen/')}, {tokens} tokens, {json.dumps(settings)}: {sizes}, {more}; {speed}",
            flush=True,
        )
    print(f"memory_plan_gpu: {worst:.1%} largest error of the peak (goal ≤ {GOAL:.0%})")


if __name__ == "__main__":
    main()
