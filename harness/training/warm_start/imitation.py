"""Supervised training on scripted episodes: the warm start of a policy that does not know the protocol yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from harness.policy.forward import micro_batches, policy_logprobs
from harness.types import Trajectory


def imitate(
    model: nn.Module,
    trajectories: Sequence[Trajectory],
    *,
    learning_rate: float,
    tokens_per_update: int,
    tokens_per_microbatch: int,
    autocast: bool,
    seed: int,
    context_weight: float = 0.0,
    warmup: float = 0.05,
    report: Callable[[int, int, float], None] | None = None,
) -> float:
    """One pass of AdamW over `trajectories` in random order, cosine schedule; the mean loss of the last tenth.

    The loss is the mean negative log-likelihood (nats) of the policy tokens of an update of about `tokens_per_update`
    tokens. With `context_weight` prompt and observation tokens are learnt too, at that weight: passages repeat names,
    which teaches a fresh model to copy. `report(update, updates, loss)` is called after every update. Raises
    ValueError without trajectories.
    """
    if not trajectories:
        raise ValueError("nothing to imitate: no scripted episode was made")
    order = np.random.default_rng(seed).permutation(len(trajectories))
    updates: list[list[Trajectory]] = [[]]
    filled = 0
    for i in order:
        if filled >= tokens_per_update:
            updates.append([])
            filled = 0
        updates[-1].append(trajectories[i])
        filled += trajectories[i].n_tokens
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizers = optimizers_of(model, learning_rate)
    losses: list[float] = []
    for step, batch in enumerate(updates):
        scale = min(1.0, (step + 1) / max(1, warmup * len(updates)))
        scale *= 0.5 * (1 + math.cos(math.pi * step / len(updates))) * 0.95 + 0.05
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak_lr", group["lr"]) * scale
        n_policy = sum(t.n_policy_tokens for t in batch)
        model.zero_grad(set_to_none=True)
        total = 0.0
        for micro in micro_batches(batch, tokens_per_microbatch):
            own = micro.policy
            if context_weight:
                lengths = torch.tensor([batch[i].n_tokens for i in micro.indices])
                real = torch.arange(own.shape[1]) < lengths[:, None]
                real[:, 0] = False  # nothing predicts the first token
                micro = replace(micro, policy=real)
            logp, _ = policy_logprobs(model, micro, 1.0, autocast)
            weight = torch.where(own[micro.policy].to(logp.device), 1.0, context_weight)
            (-(weight * logp).sum() / n_policy).backward()
            total -= float((logp.detach() * (weight == 1.0)).sum()) / n_policy
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        losses.append(total)
        if report is not None:
            report(step + 1, len(updates), total)
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def optimizers_of(model: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the hidden matrices at ten times `learning_rate`, AdamW for everything else.

    On the tiny policy Muon reaches a given loss in about half the updates; adapters are trained by AdamW alone.
    """
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    lora = any("lora_" in n for n, _ in named)
    matrices = [p for n, p in named if p.ndim == 2 and "embed" not in n and "lm_head" not in n and not lora]
    chosen = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in chosen]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    ]
    if matrices:
        made.append(torch.optim.Muon(matrices, lr=10 * learning_rate, weight_decay=0.01, momentum=0.95))
    return made
