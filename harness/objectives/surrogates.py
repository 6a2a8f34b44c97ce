"""Surrogates: f(x, A) of a segment's importance ratio x and advantage A, of which the loss is the weighted sum.

| surrogate | f(x, A) | gradient with respect to log x |
|---|---|---|
| `min_clip` (PPO, GRPO, GSPO, GSsPO) | -min(x A, clip(x) A) | -x A, 0 where the clipped branch is active |
| `cispo` (2506.13585) | -sg[clip(x)] A log x | -clip(x) A: a clipped segment keeps its gradient |
| `none` (REINFORCE) | -A log x | -A: no ratio, hence no clip |

clip(x) = clip(x, 1 - low, 1 + high), sg: stop-gradient. log x is the mean of a segment's log pi_theta - log pi_old, so
the last two differ from the published forms in log pi_theta by a term without gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # configuration reads the names of `SURROGATES`, and imports no torch
    from torch import Tensor

    from harness.objectives.clip_settings import ClipBand

Surrogate = Callable[["Tensor", "Tensor", "ClipBand"], "Tensor"]
"""Ratio [S] (gradients flow), advantage [S] and band to f of each segment, [S]."""


def min_clip(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-min(x A, clip(x, 1 - low, 1 + high) A), elementwise (PPO, arXiv 1707.06347, eq. 7)."""
    return -(ratio * advantage).minimum(ratio.clamp(1 - band.low, 1 + band.high) * advantage)


def cispo(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-sg[clip(x, 1 - low, 1 + high)] A log x, elementwise (CISPO, arXiv 2506.13585, eq. 4, with both bounds)."""
    return -ratio.detach().clamp(1 - band.low, 1 + band.high) * advantage * ratio.log()


def no_ratio(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """-A log x, elementwise: REINFORCE with the segment's mean log-probability. The band has no effect."""
    return -advantage * ratio.log()


SURROGATES: dict[str, Surrogate] = {"min_clip": min_clip, "cispo": cispo, "none": no_ratio}


def is_clipped(ratio: Tensor, advantage: Tensor, band: ClipBand) -> Tensor:
    """Mask of the elements beyond the band on the side where `min_clip` has no gradient. bool, elementwise."""
    return ((ratio > 1 + band.high) & (advantage > 0)) | ((ratio < 1 - band.low) & (advantage < 0))
