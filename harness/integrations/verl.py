"""GSsPO in verl: the policy loss `gsspo`, with one ratio per run of policy tokens in `response_mask`.

Written for verl 0.9.1, whose workers import the module named in `actor_rollout_ref.model.external_lib`. Registration
on import is verl's interface; no other module of the harness has side effects on import.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_policy_loss

from harness.integrations.mask_runs import segment_mask_runs
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import policy_objective_tokenwise, summarize
from harness.objectives.reductions import REDUCTIONS


@register_policy_loss("gsspo")  # type: ignore[untyped-decorator,unused-ignore]
def compute_policy_loss_gsspo(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "seq-mean-token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """GSsPO loss, mean_i mean_k f(s_ik, A), and its metrics. KL and entropy terms are verl's own.

    Args:
        old_log_prob, log_prob, advantages, response_mask: [B, L] of a micro-batch.
        loss_agg_mode: must be "seq-mean-token-mean", which the KL term then uses too.
        config: verl's `ActorConfig`; `clip_ratio_low`, `clip_ratio_high` (e.g. 3e-4, 4e-4) and `global_batch_info` are
            read. With the latter, micro-batches add up to the loss of the whole batch, as in verl's own losses.
        rollout_is_weights: must be None.

    Raises:
        ValueError: on another aggregation, on rollout-correction weights, or without a configuration.
    """
    if loss_agg_mode != "seq-mean-token-mean":
        raise ValueError(
            f"gsspo averages over units, then rows: loss_agg_mode=seq-mean-token-mean, not {loss_agg_mode}"
        )
    if rollout_is_weights is not None:
        raise ValueError("gsspo does not support rollout-correction weights")
    if config is None:
        raise ValueError("gsspo needs the actor's configuration")
    low = config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low
    high = config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high
    policy = response_mask.bool()
    segmentation = segment_mask_runs(policy)
    # verl counts the sequences of the whole batch, or, left to the micro-batch, those that have a policy token.
    batch_size = config.global_batch_info.get("global_batch_size")
    if batch_size is None:
        batch_size = policy.any(dim=-1).sum().clamp(min=1)
    scale = len(policy) * config.global_batch_info.get("dp_size", 1) / batch_size
    output = policy_objective_tokenwise(
        log_prob[policy],
        old_log_prob[policy],
        advantages[policy],
        segmentation,
        REDUCTIONS["N1"](segmentation) * scale,
        ClipBand(low, high),
    )
    statistics = summarize([output])
    return output.loss, {
        "actor/pg_clipfrac": float(statistics["clip_fraction"]),
        "actor/pg_clipfrac_lower": 0.0,
        "actor/ppo_kl": float(torch.nan_to_num((old_log_prob - log_prob)[policy].detach().mean())),
        "actor/ratio_max": float(statistics.get("ratio_max", torch.tensor(1.0))),
    }
