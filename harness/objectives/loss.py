"""The loss: sum_k w_k f(x_k, A_k) over segments k; by default f(x, A) = -min(x A, clip(x, 1 - low, 1 + high) A).

GRPO, GSPO and GSsPO are this one function; they differ in the segmentation, the weights and the band they pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from harness.objectives.clip_settings import ClipBand
from harness.objectives.ratios import MAX_LOG_RATIO, log_ratios, segment_mean
from harness.objectives.segmentation import Segmentation
from harness.objectives.surrogates import Surrogate, TokenLogprobs, TokenSurrogate, is_clipped, min_clip


@dataclass(frozen=True, eq=False)
class ObjectiveOutput:
    """Loss and per-segment statistics of a (micro-)batch; all but `loss` is detached.

    Args:
        loss: scalar; the losses of a mini-batch's micro-batches add up to its loss.
        ratio: [S] importance ratio of each segment.
        advantage: [S] advantage of each segment (mean over its tokens where they differ).
        clipped: bool [S], beyond the band on the side where `min_clip` has no gradient.
        tokens: int64 [S], tokens of each segment.
        kl_old: scalar, *sum* over tokens of the k3 estimate of KL(pi_old || pi_theta).
    """

    loss: Tensor
    ratio: Tensor
    advantage: Tensor
    clipped: Tensor
    tokens: Tensor
    kl_old: Tensor

    def on_cpu(self) -> ObjectiveOutput:
        """A copy detached and on CPU, to keep or to send to another process."""
        return ObjectiveOutput(**{f.name: getattr(self, f.name).detach().cpu() for f in fields(self)})


def policy_objective(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    segmentation: Segmentation,
    weights: Tensor,
    band: ClipBand,
    surrogate: Surrogate = min_clip,
) -> ObjectiveOutput:
    """Loss of B trajectories with one advantage each.

    Args:
        logp: [T] log-probs of the policy tokens under the policy being trained; gradients flow here only.
        old_logp: [T] the same before the first update on this rollout batch.
        advantage: [B].
        segmentation: of the T tokens into S segments.
        weights: [S], a reduction *of the whole mini-batch* (sliced by `Selection.segments` for a micro-batch).
        band: clip band of this update.
        surrogate: f, one of `SURROGATES` or of that type.

    Raises:
        ValueError: on shapes that do not match.
    """
    _check(advantage, segmentation.n_trajectories, "advantage")
    _check(weights, segmentation.n_segments, "weights")
    ratio = log_ratios(logp, old_logp, segmentation).exp()
    advantage_k = advantage.detach().to(logp.dtype)[segmentation.trajectory_of_segment]
    if isinstance(surrogate, TokenSurrogate):
        tokens = TokenLogprobs(logp, old_logp.detach().to(logp.dtype), segmentation)
        f = surrogate(tokens, advantage_k[segmentation.segment_of_token], band)
    else:
        f = surrogate(ratio, advantage_k, band)
    _check(f, segmentation.n_segments, "surrogate")
    loss = (weights.to(logp.dtype) * f).sum()
    return _output(loss, ratio, advantage_k, is_clipped(ratio, advantage_k, band), logp, old_logp, segmentation)


def policy_objective_tokenwise(
    logp: Tensor,
    old_logp: Tensor,
    token_advantage: Tensor,
    segmentation: Segmentation,
    weights: Tensor,
    band: ClipBand,
    surrogate: Surrogate = min_clip,
) -> ObjectiveOutput:
    """Loss with one advantage per token: the stop-gradient form of GSPO-token (arXiv 2507.18071, eq. 14).

    x_t = sg[x_k] pi_theta(t) / sg[pi_theta(t)], and a segment's f is the mean of its tokens' f(x_t, A_t). Where all
    tokens of a segment have one advantage, value and gradient equal those of `policy_objective`, except that segments
    at the ratio clamp keep their gradient. A segment counts as clipped if more than half of its tokens are.

    Args:
        token_advantage: [T]. Other arguments and errors as for `policy_objective`.
    """
    _check(token_advantage, segmentation.n_tokens, "token_advantage")
    _check(weights, segmentation.n_segments, "weights")
    ratio = log_ratios(logp, old_logp, segmentation).exp().detach()
    ratio_t = ratio[segmentation.segment_of_token] * (logp - logp.detach()).exp()
    advantage_t = token_advantage.detach().to(logp.dtype)
    if isinstance(surrogate, TokenSurrogate):
        f = surrogate(TokenLogprobs(logp, old_logp.detach().to(logp.dtype), segmentation), advantage_t, band)
    else:
        f_t = surrogate(ratio_t, advantage_t, band)
        _check(f_t, segmentation.n_tokens, "surrogate")
        f = segment_mean(f_t, segmentation)
    _check(f, segmentation.n_segments, "surrogate")
    loss = (weights.to(logp.dtype) * f).sum()
    clipped = segment_mean(is_clipped(ratio_t, advantage_t, band).to(logp.dtype), segmentation) > 0.5
    return _output(loss, ratio, segment_mean(advantage_t, segmentation), clipped, logp, old_logp, segmentation)


def kl_k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """k3 estimate of KL(pi_theta || pi_ref) per token: exp(d) - d - 1, d = ref_logp - logp. [T], [T] -> [T].

    Unbiased and non-negative (Schulman, "Approximating KL divergence", 2020). d is clamped to +-20; a clamped token has
    zero gradient, and none flows to `ref_logp`. The KL term is its sum weighted by `seq_mean_token_mean`.
    """
    d = (ref_logp.detach().to(logp.dtype) - logp).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    return d.exp() - d - 1


def summarize(outputs: Sequence[ObjectiveOutput]) -> dict[str, Tensor]:
    """Statistics of a mini-batch from its micro-batches, as scalar tensors.

    clip_fraction, clip_fraction_tokens: fraction of the units (of the tokens) with A != 0 whose unit is clipped, 0 if
    there is none. ratio_mean, ratio_max, ratio_min: over units, absent if there is none. kl_old: mean over tokens of
    the k3 estimate of KL(pi_old || pi_theta).
    """
    ratio = torch.cat([o.ratio for o in outputs])
    clipped = torch.cat([o.clipped for o in outputs]).double()
    tokens = torch.cat([o.tokens for o in outputs]).double()
    informative = torch.cat([o.advantage != 0 for o in outputs]).double()
    statistics = {
        "clip_fraction": (clipped * informative).sum() / informative.sum().clamp(min=1),
        "clip_fraction_tokens": (clipped * informative * tokens).sum() / (informative * tokens).sum().clamp(min=1),
        "kl_old": torch.stack([o.kl_old for o in outputs]).sum() / tokens.sum().clamp(min=1),
    }
    if len(ratio):
        statistics |= {"ratio_mean": ratio.mean(), "ratio_max": ratio.max(), "ratio_min": ratio.min()}
    return statistics


def _check(values: Tensor, expected: int, name: str) -> None:
    if values.shape != (expected,):
        raise ValueError(f"{name} {list(values.shape)}: [{expected}] expected")


def _output(
    loss: Tensor,
    ratio: Tensor,
    advantage: Tensor,
    clipped: Tensor,
    logp: Tensor,
    old_logp: Tensor,
    segmentation: Segmentation,
) -> ObjectiveOutput:
    with torch.no_grad():
        kl_old = kl_k3(old_logp.to(logp.dtype), logp).sum()
    return ObjectiveOutput(
        loss, ratio.detach(), advantage.detach(), clipped.detach(), segmentation.tokens_per_segment, kl_old
    )
