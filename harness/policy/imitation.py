"""Supervised training on scripted episodes: the warm start of a policy that does not know the protocol yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

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
    warmup: float = 0.05,
    report: Callable[[int, int, float], None] | None = None,
) -> float:
    """One pass of AdamW over `trajectories` in random order, cosine schedule; the mean loss of the last tenth.

    The loss is the mean negative log-likelihood (nats) of the policy tokens of an update of about `tokens_per_update`
    tokens. `report(update, updates, loss)` is called after every update. Raises ValueError without trajectories.
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
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    losses: list[float] = []
    for step, batch in enumerate(updates):
        scale = min(1.0, (step + 1) / max(1, warmup * len(updates)))
        scale *= 0.5 * (1 + math.cos(math.pi * step / len(updates))) * 0.95 + 0.05
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * scale
        n_policy = sum(t.n_policy_tokens for t in batch)
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for micro in micro_batches(batch, tokens_per_microbatch):
            logp, _ = policy_logprobs(model, micro, 1.0, autocast)
            loss = -logp.sum() / n_policy
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(total)
        if report is not None:
            report(step + 1, len(updates), total)
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))
