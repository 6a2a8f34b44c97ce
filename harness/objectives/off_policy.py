"""How far the engine that sampled is from the model that is trained, and what can be done about it.

Both hold the same weights, but other kernels, other number formats or a missed synchronisation make the distribution
that was sampled, mu, differ from the trainer's own at the start of the batch, pi_old. Then even the first update is
off-policy, and unknowingly so when mu's log-probs stand in for pi_old's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.objectives.ratio_units import Segmentation
from harness.objectives.ratios import MAX_LOG_RATIO, log_ratios


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Sums over tokens sampled from mu, with d = log pi - log mu, and the largest |d|. Adds up over micro-batches."""

    tokens: float = 0.0
    gap: float = 0.0
    k1: float = 0.0
    k3: float = 0.0
    gap_max: float = 0.0

    def __add__(self, other: Mismatch) -> Mismatch:
        return Mismatch(
            self.tokens + other.tokens,
            self.gap + other.gap,
            self.k1 + other.k1,
            self.k3 + other.k3,
            max(self.gap_max, other.gap_max),
        )

    def means(self) -> dict[str, float]:
        """`logprob_gap` (largest), `logprob_gap_mean`, and KL(mu || pi) as k1 = -d and k3 = e^d - d - 1 estimate it."""
        n = max(self.tokens, 1.0)
        return {
            "logprob_gap": self.gap_max,
            "logprob_gap_mean": self.gap / n,
            "kl_k1": self.k1 / n,
            "kl_k3": self.k3 / n,
        }


def mismatch(trainer_logp: Tensor, sampler_logp: Tensor) -> Mismatch:
    """Of the sampled tokens [T] under the model and under the engine; k3's d is clamped to +-20."""
    if len(trainer_logp) == 0:
        return Mismatch()
    d = trainer_logp.detach().double() - sampler_logp.double()
    clamped = d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    k3 = clamped.exp() - clamped - 1
    return Mismatch(float(len(d)), float(d.abs().sum()), float(-d.sum()), float(k3.sum()), float(d.abs().max()))


def truncated_importance(trainer_logp: Tensor, sampler_logp: Tensor, segmentation: Segmentation, cap: float) -> Tensor:
    """min(pi_old / mu, cap) of each segment, [S], without gradient: a factor of the segment's loss.

    Truncated importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL
    training"); Espeholt et al. 2018, 1802.01561, bound V-trace's weights so. A segment's ratio is the geometric mean
    of its tokens', as the importance ratio of the objective itself: with one-token segments it is token-level TIS.

    Args:
        trainer_logp: [T], under the trained model before the first update on the batch.
        sampler_logp: [T], as the engine reported them.
        cap: greater than 0; weights above are cut, which bounds the variance and biases towards mu.
    """
    if cap <= 0:
        raise ValueError(f"cap {cap} must be positive")
    with torch.no_grad():
        return log_ratios(trainer_logp, sampler_logp, segmentation).exp().clamp(max=cap)
