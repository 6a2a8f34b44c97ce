"""Surrogates: f of a segment's importance ratio x and advantage A, of which the loss is the weighted sum.

| surrogate | f(x, A) | gradient with respect to log x |
|---|---|---|
| `min_clip` (PPO, GRPO, GSPO, GSsPO) | -min(x A, clip(x) A) | -x A, 0 where the clipped branch is active |
| `cispo` (2506.13585) | -sg[clip(x)] A log x | -clip(x) A: a clipped segment keeps its gradient |
| `none` (REINFORCE) | -A log x | -A: no ratio, hence no clip |
| `sapo` (2511.20347) | -(4 / tau) sigmoid(tau (x - 1)) A | -x A 4 s (1 - s): a soft gate, no band |
| `gmpo` (2507.20673) | -x~ A, x~ from token ratios clipped one by one | -x~ A, tokens beyond the band 0 |
| `dppo` (2602.04879) | -x A, 0 where pi - mu leaves the band with A | -x A, 0 where masked |

clip(x) = clip(x, 1 - low, 1 + high), sg: stop-gradient. log x is the mean of a segment's log pi_theta - log pi_old, so
`cispo` and `none` differ from the published forms in log pi_theta by a term without gradient.

The first four are functions of (x, A, band), elementwise; the last two need a segment's tokens and are a
`TokenSurrogate`. One's own is either, named by import path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # configuration reads the names of `SURROGATES`, and imports no torch
    from torch import Tensor

    from harness.objectives.clip_settings import ClipBand
    from harness.objectives.segmentation import Segmentation

SAPO_TEMPERATURE_POSITIVE, SAPO_TEMPERATURE_NEGATIVE = 1.0, 1.05
"""tau of segments with A > 0, and of the others, as published (section 4)."""


@dataclass(frozen=True, eq=False)
class TokenLogprobs:
    """What a `TokenSurrogate` reads: `logp` [T] (gradients flow), `old_logp` [T] (none) and their segments."""

    logp: Tensor
    old_logp: Tensor
    segmentation: Segmentation


@dataclass(frozen=True, slots=True)
class TokenSurrogate:
    """A surrogate that a segment's ratio alone does not determine: tokens, advantage [T] and band to f, [S]."""

    f: Callable[[TokenLogprobs, Tensor, ClipBand], Tensor]

    def __call__(self, tokens: TokenLogprobs, advantage: Tensor, band: ClipBand) -> Tensor:
        return self.f(tokens, advantage, band)


SegmentSurrogate = Callable[["Tensor", "Tensor", "ClipBand"], "Tensor"]
"""Ratio (gradients flow), advantage and band to f of each element: segments [S], or, where the advantage differs within
a segment, tokens [T]."""
Surrogate = SegmentSurrogate | TokenSurrogate


def min_clip(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-min(x A, clip(x, 1 - low, 1 + high) A), elementwise (PPO, arXiv 1707.06347, eq. 7)."""
    return -(ratio * advantage).minimum(ratio.clamp(1 - band.low, 1 + band.high) * advantage)


def cispo(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-sg[clip(x, 1 - low, 1 + high)] A log x, elementwise (CISPO, arXiv 2506.13585, eq. 4, with both bounds)."""
    return -ratio.detach().clamp(1 - band.low, 1 + band.high) * advantage * ratio.log()


def no_ratio(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-A log x, elementwise: REINFORCE with the segment's mean log-probability. The band has no effect."""
    return -advantage * ratio.log()


def sapo(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-(4 / tau) sigmoid(tau (x - 1)) A, elementwise (SAPO, arXiv 2511.20347, eq. 6). The band has no effect."""
    positive, negative = (ratio.new_tensor(t) for t in (SAPO_TEMPERATURE_POSITIVE, SAPO_TEMPERATURE_NEGATIVE))
    tau = positive.where(advantage > 0, negative)
    return -(tau * (ratio - 1)).sigmoid() * (4 / tau) * advantage


def gmpo(tokens: TokenLogprobs, advantage: Tensor, band: ClipBand) -> Tensor:
    """-x~ A of each segment, x~ the geometric mean of token ratios clipped one by one (GMPO, arXiv 2507.20673, eq. 4).

    A token's ratio is bounded by 1 + high where A > 0 and by 1 - low where A < 0. With one-token segments this is
    `min_clip`. Where A differs within a segment, f is the mean over its tokens of the stop-gradient form.
    """
    from harness.objectives.ratios import log_ratio_of_segments, segment_mean

    delta = tokens.logp - tokens.old_logp
    floor = math.log1p(-band.low) if band.low < 1 else -math.inf
    kept = delta.clamp(max=math.log1p(band.high)).where(advantage > 0, delta)
    kept = delta.clamp(min=floor).where(advantage < 0, kept)
    ratio = log_ratio_of_segments(kept, tokens.segmentation).exp().detach()
    ratio_t = ratio[tokens.segmentation.segment_of_token] * (kept - kept.detach()).exp()
    return segment_mean(-ratio_t * advantage, tokens.segmentation)


def dppo(tokens: TokenLogprobs, advantage: Tensor, band: ClipBand) -> Tensor:
    """-x A of each segment, 0 where its probability has moved too far (DPPO, arXiv 2602.04879, binary total variation).

    pi and mu of a segment are geometric means of its tokens' probabilities; `band` bounds pi - mu, not the ratio:
    A > 0 is masked above `high`, A < 0 below -`low`. Where A differs within a segment, f is the mean over its tokens.
    """
    from harness.objectives.ratios import log_ratios, segment_mean

    s = tokens.segmentation
    ratio = log_ratios(tokens.logp, tokens.old_logp, s).exp().detach()
    moved = segment_mean(tokens.logp.detach(), s).exp() - segment_mean(tokens.old_logp, s).exp()
    moved = moved[s.segment_of_token]
    masked = ((moved > band.high) & (advantage > 0)) | ((moved < -band.low) & (advantage < 0))
    ratio_t = ratio[s.segment_of_token] * (tokens.logp - tokens.logp.detach()).exp()
    return segment_mean((-ratio_t * advantage).masked_fill(masked, 0.0), s)


SURROGATES: dict[str, Surrogate] = {
    "min_clip": min_clip,
    "cispo": cispo,
    "none": no_ratio,
    "sapo": sapo,
    "gmpo": TokenSurrogate(gmpo),
    "dppo": TokenSurrogate(dppo),
}


def is_clipped(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """Mask of the elements beyond the band on the side where `min_clip` has no gradient. bool, elementwise."""
    return ((ratio > 1 + band.high) & (advantage > 0)) | ((ratio < 1 - band.low) & (advantage < 0))
