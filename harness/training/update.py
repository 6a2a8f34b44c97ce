"""One rollout batch in, several optimizer updates out: minibatches, objective, KL, clipping.

The trainer knows no objective by name: it asks `harness.objectives` for a segmentation, weights and a band. Every
average is taken over the whole minibatch before it is split, so the gradient does not depend on the micro-batches, nor
on how many workers share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from harness.config import TrialConfig
from harness.distributed.collective import ALONE, Collective, rounds, totals
from harness.distributed.tensors import whole
from harness.objectives.batch import action_tokens, segment_batch
from harness.objectives.clip import Clip
from harness.objectives.loss import (
    ObjectiveOutput,
    kl_k3,
    policy_objective,
    policy_objective_tokenwise,
    summarize,
)
from harness.objectives.off_policy import Mismatch, mismatch, truncated_importance
from harness.objectives.reductions import REDUCTIONS, seq_mean_token_mean
from harness.objectives.surrogates import SURROGATES
from harness.objectives.unit_statistics import UnitSums, unit_sums
from harness.policy.forward import MicroBatch, micro_batches
from harness.policy.sharding import logprobs
from harness.training.finiteness import NotFinite
from harness.training.minibatch_advantages import minibatch_advantages
from harness.types import Group, Trajectory
from harness.types.own_code import chosen_function

Reference = Callable[[MicroBatch], Tensor]
"""Log-probs of a micro-batch's policy tokens under the frozen reference policy, [T'], without gradient."""


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """`clip`: its state after this batch; `metrics`: means over the updates, `update/…` and `sampler/…`.

    `diverged`: the quantity that was not finite in the last of them, which then changed no weight."""

    clip: Clip
    metrics: dict[str, float]
    diverged: str | None = None


def policy_update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    clip: Clip,
    config: TrialConfig,
    reference: Reference | None = None,
    workers: Collective = ALONE,
) -> UpdateResult:
    """Train `model` in place on the groups of one rollout batch, `updates_per_batch` optimizer steps.

    `reference` serves the KL term (k3, token level) and is needed when `kl_weight` is positive. Raises ValueError then.
    With several `workers`, all are given all groups and a `Sharded` model, and all get the same result.
    """
    if config.objective.kl_weight > 0 and reference is None:
        raise ValueError("a positive kl_weight needs a reference policy")
    outputs: list[ObjectiveOutput] = []
    records: list[dict[str, float]] = []
    start = _start_logprobs(model, groups, config, workers) if config.objective.importance_cap is not None else None
    for chunk in np.array_split(np.arange(len(groups)), config.update.updates_per_batch):
        minibatch = [groups[i] for i in chunk]
        produced, record, diverged = _one_update(model, optimizer, minibatch, clip, config, reference, workers, start)
        outputs += produced
        records.append(record)
        if diverged is not None:
            break
    optimizer.zero_grad(set_to_none=True)  # nothing of them is held through the next rollouts
    stats = {f"update/{k}": float(v) for k, v in summarize(outputs).items()} if outputs else {}
    # per-update values: the mean; the sampler's mismatch, that of the first update which computed anything: minibatches
    # of equal rewards only compute nothing and move nothing, so it is still measured before the policy has moved
    keys = {k for r in records for k in r}
    stats |= {f"update/{k}": float(np.mean([r[k] for r in records if k in r])) for k in keys if "/" not in k}
    stats["update/grad_norm_max"] = float(np.max([r["grad_norm"] for r in records]))  # NaN if any is
    mismatches = ({k: v for k, v in r.items() if "/" in k} for r in records)
    stats |= next((found for found in mismatches if found), {})
    stats |= {"update/clip_low": clip.band.low, "update/clip_high": clip.band.high}
    if outputs and diverged is None:
        clip = clip.observe(torch.cat([o.ratio for o in outputs]), torch.cat([o.advantage for o in outputs]))
    return UpdateResult(clip, stats, diverged)


def _one_update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    groups: Sequence[Group],
    clip: Clip,
    config: TrialConfig,
    reference: Reference | None,
    workers: Collective,
    start: _StartLogprobs | None,
) -> tuple[list[ObjectiveOutput], dict[str, float], str | None]:
    trajectories = [t for g in groups for t in g.trajectories]
    advantages = minibatch_advantages(groups, config.objective, config.seed)
    if advantages.not_finite is not None:
        return [], {"grad_norm": 0.0}, advantages.not_finite
    surrogate = chosen_function(config.objective.surrogate, SURROGATES)
    segmentation = segment_batch(trajectories, config.objective.ratio_unit, seed=config.seed)
    weights = REDUCTIONS[config.objective.reduction](segmentation)
    kl_weights = seq_mean_token_mean(segmentation)
    # A group of equal rewards has no policy gradient; without a KL term its trajectories need no forward at all.
    active = [i for i in range(len(trajectories)) if config.objective.kl_weight > 0 or advantages.informative[i]]
    optimizer.zero_grad(set_to_none=True)
    outputs: list[ObjectiveOutput] = []
    loss, kl, entropy, n_tokens = 0.0, 0.0, 0.0, 0.0
    entropy_action, n_action, not_finite = 0.0, 0.0, NotFinite()
    drift, sums, cap = Mismatch(), UnitSums(), config.objective.importance_cap
    importances: list[Tensor] = []
    batches = micro_batches([trajectories[i] for i in active], config.update.tokens_per_microbatch)
    for batch, counts in rounds(workers, batches):
        selection = segmentation.select([active[i] for i in batch.indices])
        selected = [trajectories[active[i]] for i in batch.indices]
        # the reference first: its activations are gone before the policy's are kept for the backward pass
        ref_logp = reference(batch) if config.objective.kl_weight > 0 and reference is not None else None
        logp, token_entropy = logprobs(model, batch, config.rollout.temperature, config.update.autocast)
        sampled = _sampled_logprobs(selected).to(logp)
        segments, device = selection.segmentation.to(logp.device), logp.device
        old, factors = sampled, weights[selection.segments].to(device)
        if start is not None and cap is not None:
            old = torch.cat([start[id(t)] for t in selected]).to(logp)
            importance = truncated_importance(old, sampled, segments, cap)
            factors = factors.to(importance) * importance
            importances += [importance.cpu()] if counts else []
        objective = policy_objective_tokenwise if advantages.by_token else policy_objective
        credit = advantages.value[selection.tokens if advantages.by_token else selection.trajectories].to(device)
        output = objective(logp, old, credit, segments, factors, clip.band, surrogate)
        if counts:  # on a copy, so that no hook of a sharded model sees this gradient
            leaf = logp.detach().requires_grad_()
            sums += unit_sums(objective(leaf, old, credit, segments, factors, clip.band, surrogate), leaf, segments)
        total = output.loss
        if ref_logp is not None:
            k3 = kl_k3(logp, ref_logp)
            total = total + config.objective.kl_weight * (kl_weights[selection.tokens].to(logp) * k3).sum()
            kl += float(k3.detach().sum()) if counts else 0.0
        (total if counts else 0 * total).backward()
        if not counts:
            continue
        outputs.append(output.on_cpu())
        loss += float(total.detach())
        acting = action_tokens(selected).to(token_entropy.device)
        entropy += float(token_entropy.sum())
        entropy_action, n_action = entropy_action + float(token_entropy[acting].sum()), n_action + float(acting.sum())
        drift += mismatch(logp, sampled)
        n_tokens += len(logp)
        not_finite = not_finite.plus(old, ref_logp, logp)
    loss, kl, entropy, n_tokens, *counted = totals(workers, (loss, kl, entropy, n_tokens, *not_finite))
    entropy_action, n_action = totals(workers, (entropy_action, n_action))
    drift, sums = sum(workers.gather(drift), Mismatch()), sum(workers.gather(sums), UnitSums())
    importances = [x for part in workers.gather(importances) for x in part]
    outputs = [o for part in workers.gather(outputs) for o in part]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = float(whole(torch.nn.utils.clip_grad_norm_(parameters, config.update.max_grad_norm))) if n_tokens else 0.0
    record = {"loss": loss, "grad_norm": norm, "skipped_share": 1 - len(active) / len(trajectories)}
    diverged = NotFinite(*counted).first(loss, norm)
    if n_tokens:
        if diverged is None:
            optimizer.step()
        record |= sums.metrics() | {"advantage_variance_within": advantages.variance_within}
        if n_action < n_tokens:
            record["entropy_think"] = (entropy - entropy_action) / (n_tokens - n_action)
        if n_action:
            record["entropy_action"] = entropy_action / n_action
        record |= {"entropy": entropy / n_tokens} | {f"sampler/{k}": v for k, v in drift.means().items()}
        if importances and cap is not None:
            together = torch.cat(importances).double()
            record |= {
                "importance_mean": float(together.mean()),
                "importance_capped": float(torch.ge(together, cap).double().mean()),
            }
        if config.objective.kl_weight > 0:
            record["kl"] = kl / n_tokens
    return outputs, record, diverged


def _sampled_logprobs(trajectories: Sequence[Trajectory]) -> Tensor:
    return torch.from_numpy(np.concatenate([t.sampled_logprobs for t in trajectories]))


_StartLogprobs = dict[int, Tensor]
"""Log-probs of a trajectory's policy tokens, [n], by the trajectory's `id`."""


@torch.no_grad()
def _start_logprobs(
    model: nn.Module, groups: Sequence[Group], config: TrialConfig, workers: Collective
) -> _StartLogprobs:
    """Under the model before the batch's first update: one more forward pass over the whole batch."""
    trajectories = [t for g in groups for t in g.trajectories]
    mine: list[tuple[int, Tensor]] = []
    for batch, counts in rounds(workers, micro_batches(trajectories, config.update.tokens_per_microbatch)):
        logp, _ = logprobs(model, batch, config.rollout.temperature, config.update.autocast)
        parts = logp.cpu().split([trajectories[i].n_policy_tokens for i in batch.indices])
        if counts:
            mine += zip(batch.indices, parts, strict=True)
    return {id(trajectories[i]): logp for part in workers.gather(mine) for i, logp in part}
