"""What memory a model really takes: tensors that autograd keeps, and the allocator's peak over one update.

`python -m tests.support.real_memory '[["small", {}], …]'` measures the peak of each (size, settings) and prints a list.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.builtin import BuiltinEngine
from harness.objectives.clip import FixedClip
from harness.policy.forward import MicroBatch, policy_logprobs
from harness.policy.load import Policy, recompute_activations, reference_of, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.protocol import parse_turn
from harness.sweep.memory_plan.memory import Workload
from harness.sweep.memory_plan.shapes import shape_of_config
from harness.training.update import policy_update
from harness.types import Group, Question, Reward, StopReason, Trajectory, Turn
from tests.support.update_config import update_config

SIZES = {
    "small": {"vocab_size": 1024, "hidden_size": 256, "intermediate_size": 640, "num_hidden_layers": 4},
    "wide": {"vocab_size": 32_000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 3},
    "deep": {"vocab_size": 2048, "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 12},
}
"""Of Qwen2; heads are 32 wide, four query heads share keys."""
EPISODES, LENGTH = 8, 128


def workload(size: str, **settings: Any) -> Workload:
    """Two micro-batches of half the episodes each; `settings` differ from plain float32 training."""
    plain = Workload(
        shape_of_config(config_of(size)), 4, False, None, False, False, EPISODES * LENGTH // 2, EPISODES, LENGTH
    )
    return replace(plain, **settings)


def config_of(size: str) -> Any:
    from transformers import Qwen2Config

    c = SIZES[size]
    heads = c["hidden_size"] // 32
    return Qwen2Config(
        **c, num_attention_heads=heads, num_key_value_heads=heads // 4, tie_word_embeddings=True,
        max_position_embeddings=LENGTH, attention_dropout=0.0,
    )  # fmt: skip


def make_policy(size: str, w: Workload) -> Policy:
    from transformers import Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config_of(size)).to(torch.float32 if w.dtype_bytes == 4 else torch.bfloat16).eval()
    policy = Policy(model, chat=None)  # type: ignore[arg-type]
    if w.lora_rank is not None:
        policy = with_lora(policy, LoraSettings(w.lora_rank, 16.0), 0)
    if w.checkpointing:
        recompute_activations(policy)
    return policy


def kept_bytes(size: str, w: Workload) -> int:
    """Storage that autograd keeps of one micro-batch, each storage once, parameters apart."""
    policy = make_policy(size, w)
    parameters = {p.untyped_storage().data_ptr() for p in policy.model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    rows = w.tokens // LENGTH
    tokens = torch.randint(0, policy.model.config.vocab_size, (rows, LENGTH))  # type: ignore[union-attr, arg-type]
    mask = torch.ones(rows, LENGTH, dtype=torch.bool)
    mask[:, 0] = False
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        policy_logprobs(policy.model, MicroBatch(tuple(range(rows)), tokens, mask), 1.0, w.autocast)
    return sum(s.nbytes() for s in kept.values())


def groups_of(vocab: int, episodes: int = EPISODES, length: int = LENGTH) -> list[Group]:
    """Full-length episodes in two groups, of rewards that differ."""
    parsed = parse_turn("<think>a</think><answer>b</answer>", ())
    rng = torch.Generator().manual_seed(0)
    groups = []
    for g in range(2):
        asked = Question(f"q{g}", "?", ("b",), "suite")
        played = []
        for i in range(episodes // 2):
            tokens = tuple(torch.randint(0, vocab, (length - 1,), generator=rng).tolist())
            turn = Turn(tokens, (-7.0,) * len(tokens), parsed, 0)
            played.append(
                Trajectory(asked, (1,), (turn,), StopReason.ANSWERED, Reward(float(i), i, 0, 1, 1, 1, "b"), (), i)
            )
        groups.append(Group(asked, tuple(played)))
    return groups


def peaks(size: str, w: Workload) -> int:
    """The allocator's peak (bytes) over building everything, a rollout, two updates and a weight sync."""
    groups = groups_of(SIZES[size]["vocab_size"])
    warm_up()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        policy = make_policy(size, w)
        engine = BuiltinEngine(policy.model, capacity=LENGTH, dtype=next(policy.model.parameters()).dtype)
        reference = reference_of(policy, 1.0, w.autocast) if w.reference else None
        optimizer = torch.optim.AdamW(policy.trainable, lr=1e-6, fused=True)
        settings = update_config(
            ratio_unit="token", reduction="N3", kl_weight=0.1 if w.reference else 0.0, tokens_per_microbatch=w.tokens,
            max_grad_norm=1.0, autocast=w.autocast,
        )  # fmt: skip
        requests = [GenerationRequest(i, [1] * (LENGTH - 4), i, 4) for i in range(EPISODES)]
        engine.generate(requests, SamplingParams(1.0, 4, -1))
        for _ in range(2):
            policy_update(policy.model, optimizer, groups, FixedClip(0.2, 0.2), settings, reference)
        engine.load_weights(policy.model)
    changes = sorted(
        (e.start_ns(), e.nbytes()) for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"
    )
    held = highest = 0
    for _, change in changes:
        held += change
        highest = max(highest, held)
    return highest


def warm_up() -> None:
    """Load what the libraries load once."""
    a = torch.randn(64, 64, requires_grad=True)
    (a @ a).sum().backward()
    torch.optim.AdamW([a], fused=True).step()


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps([peaks(size, workload(size, **settings)) for size, settings in json.loads(sys.argv[1])]))
