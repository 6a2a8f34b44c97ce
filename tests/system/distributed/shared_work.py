"""The same work for one process and for several.

`python -m tests.system.distributed.shared_work RANK SIZE FOLDER` is one of several, and writes its result to
FOLDER/RANK.pt.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from harness.config import TrialConfig, load_trial
from harness.config.schema import Credit
from harness.distributed.collective import Collective
from harness.distributed.tensors import each_whole
from harness.engines.base import Engine
from harness.engines.weights import plain_state_dict
from harness.objectives.clip import FixedClip
from harness.objectives.presets import PRESETS
from harness.policy import sharding
from harness.policy.load import Policy, recompute_activations, reference_of, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.policy.sharding import shard, unsharded
from harness.policy.tiny import new_model
from harness.training import factory
from harness.training.train import run_trial
from harness.training.update import policy_update
from tests.support.episodes import chat, group
from tests.support.membership import membership
from tests.support.memory_sink import Memory
from tests.support.update_config import changed, update_config

SETTINGS = update_config(tokens_per_microbatch=150)
UPDATES: dict[str, dict[str, Any]] = {
    **{preset: {"preset": preset} for preset in ("grpo", "gspo", "gsspo")},
    "turn credit": {"credit": Credit(source="outcome", returns="telescoped", group="anchor", scale="none")},
    "one micro-batch": {"tokens_per_microbatch": 100_000},  # the second worker has nothing to do
    "kl": {"kl_weight": 0.1},
    "lora": {"lora": True, "kl_weight": 0.1},
    "clipped gradient, two updates": {"max_grad_norm": 0.01, "updates_per_batch": 2},
    "no signal": {"mixed": False},
    "sampler correction": {"importance_cap": 1.1, "updates_per_batch": 2},
    "checkpointing": {"checkpointing": True, "kl_weight": 0.1},
    "autocast": {"autocast": True, "dtype": torch.float32, "kl_weight": 0.1},
    "autocast and checkpointing": {"autocast": True, "checkpointing": True, "dtype": torch.float32},
    "bfloat16 under lora": {"lora": True, "autocast": True, "dtype": torch.bfloat16, "kl_weight": 0.1},
}
"""What differs from training in float64, with all weights."""
TRIAL = (
    "steps=2", "eval_every=2", "data.eval_questions=3", "data.eval_suites=[world_single]", "data.eval_samples=0",
    "data.train_suites=[world_single]", "rollout.prompts_per_step=3", "rollout.group_size=4",
    "update.updates_per_batch=2", "objective.kl_weight=0.01",
)  # fmt: skip


def update(
    workers: Collective,
    preset: str = "gsspo",
    lora: bool = False,
    mixed: bool = True,
    checkpointing: bool = False,
    dtype: torch.dtype = torch.float64,
    **settings: Any,
) -> dict[str, Any]:
    """Metrics and weight changes of plain gradient steps of rate 1."""
    axes = PRESETS[preset]
    chosen = changed(SETTINGS, ratio_unit=axes.ratio_unit, reduction=axes.reduction, **settings)
    policy = Policy(new_model(len(chat().tokenizer), hidden=32, layers=2, heads=2).to(dtype), chat())
    if lora:
        policy = with_lora(policy, LoraSettings(4, 8.0), seed=0)
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:  # zero at first: A would have no gradient
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    if checkpointing:
        recompute_activations(policy)
    model, reference = policy.model, reference_of(policy, 1.0, chosen.update.autocast)
    if workers.size > 1:
        model, reference = shard(policy, 1.0, chosen.update.autocast, with_reference=chosen.objective.kl_weight > 0)
    before = {n: p.detach().clone() for n, p in each_whole(dict(policy.model.named_parameters()))}
    optimizer = torch.optim.SGD(policy.trainable, lr=1.0)
    groups = [group(i, mixed=mixed and i != 1) for i in range(4)]
    result = policy_update(model, optimizer, groups, FixedClip(0.2, 0.2), chosen, reference, workers)
    after = dict(each_whole(dict(policy.model.named_parameters())))
    return {
        "metrics": result.metrics,
        "moved": {n: p.detach() - before[n] for n, p in after.items()},
        "engine": {n: w.clone() for n, w in plain_state_dict(policy.model).items()},
        **exported(policy, workers),
        "held": sum(getattr(p, "_local_tensor", p).numel() for p in policy.model.parameters()),
    }


def exported(policy: Policy, workers: Collective) -> dict[str, Any]:
    """The weights that are kept on disk, and the most tensors that were whole at one time on the way there."""
    most, alive = 0, []

    def watched(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        nonlocal most
        for name, full in each_whole(tensors):
            alive.append(weakref.ref(full))
            most = max(most, sum(r() is not None for r in alive))
            yield name, full

    with patch.object(sharding, "each_whole", watched):
        copied = unsharded(policy, workers)
    weights = None if copied is None else {n: w.detach().clone() for n, w in copied.model.state_dict().items()}
    return {"exported": weights, "whole at once": most}


def trial(workers: Collective) -> dict[str, Any]:
    """Two steps of the embedded tier; `held`: weights that lie here when the engine comes up."""
    memory, held = Memory(), []

    def engine(config: TrialConfig, policy: Policy) -> Engine:
        held.append(sum(getattr(p, "_local_tensor", p).numel() for p in policy.model.parameters()))
        return made(config, policy)

    made = factory.engine
    with patch.object(factory, "engine", engine):
        run_trial(load_trial("tiny", TRIAL), memory, workers)
    trained = {step: episodes for (step, split), episodes in memory.played.items() if split == "train"}
    tokens = {step: [t.token_ids.tolist() for t in episodes] for step, episodes in trained.items()}
    return {"values": memory.values, "tokens": tokens, "held": held}


def everything(workers: Collective) -> dict[str, Any]:
    return {name: update(workers, **case) for name, case in UPDATES.items()} | {"trial": trial(workers)}


def main(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    with membership(rank, size, folder / "meeting") as workers:
        torch.save(everything(workers), folder / f"{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
