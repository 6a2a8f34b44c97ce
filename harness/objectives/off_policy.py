"""Sampler-trainer mismatch: its measurement and its correction by truncated importance sampling.

Engine and trainer hold the same weights, but different kernels, number formats or a missed synchronisation make the
sampled distribution mu differ from the trainer's pi_old. The first update is then off-policy, and silently so where
mu's log-probs are used for pi_old's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.objectives.ratios import MAX_LOG_RATIO, log_ratios
from harness.objectives.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Sums over tokens sampled from mu of |d|, -d and e^d - d - 1, d = log pi - log mu; and max |d|.

    Additive over micro-batches. Tokens: count; all others in nats.
    """

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
        """Metrics: `logprob_gap` (max |d|), `logprob_gap_mean`, and the k1 and k3 estimates of KL(mu || pi)."""
        n = max(self.tokens, 1.0)
        return {
            "logprob_gap": self.gap_max,
            "logprob_gap_mean": self.gap / n,
            "kl_k1": self.k1 / n,
            "kl_k3": self.k3 / n,
        }


def mismatch(trainer_logp: Tensor, sampler_logp: Tensor) -> Mismatch:
    """Mismatch over T sampled tokens, from their log-probs under model and engine, [T] each. k3 clamps d to +-20."""
    if len(trainer_logp) == 0:
        return Mismatch()
    d = trainer_logp.detach().double() - sampler_logp.double()
    clamped = d.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    k3 = clamped.exp() - clamped - 1
    return Mismatch(float(len(d)), float(d.abs().sum()), float(-d.sum()), float(k3.sum()), float(d.abs().max()))


def truncated_importance(trainer_logp: Tensor, sampler_logp: Tensor, segmentation: Segmentation, cap: float) -> Tensor:
    """min(pi_old / mu, cap) of each segment, detached: a factor of the segment's weight. [T], [T] -> [S].

    Truncated importance sampling (Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL
    training"; V-trace, arXiv 1802.01561, truncates its weights likewise). A segment's ratio is the geometric mean of
    its tokens', as in the objective itself: with one-token segments this is token-level TIS.

    Args:
        trainer_logp: [T], under the trained model before the first update on the batch.
        sampler_logp: [T], as the engine reported them.
        cap: positive; truncation bounds the variance at the price of a bias towards mu.

    Raises:
        ValueError: if `cap` is not positive.
    """
    if cap <= 0:
        raise ValueError(f"cap {cap} must be positive")
    with torch.no_grad():
        return log_ratios(trainer_logp, sampler_logp, segmentation).exp().clamp(max=cap)
