"""Quantities of an update that are not finite, by name: a trial ends with the first of them.

Counted where each arises. A clamp further on (of log-ratios, of the KL term) would make an infinite one finite again.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

from torch import Tensor


class NotFinite(NamedTuple):
    """Numbers of tokens, in the order of computation. Additive over micro-batches and workers."""

    start: float = 0.0
    """Under the policy before the batch's first update."""
    reference: float = 0.0
    policy: float = 0.0

    def plus(self, start: Tensor, reference: Tensor | None, policy: Tensor) -> Self:
        """With the log-probs of a micro-batch counted, each [T] or absent."""
        found = (0.0 if x is None else count_not_finite(x) for x in (start, reference, policy))
        return type(self)(*(a + b for a, b in zip(self, found, strict=True)))

    def first(self, loss: float, gradient_norm: float) -> str | None:
        """The first quantity that is not finite; None: all are."""
        whose = (" under the policy before the updates", " under the reference policy", "")
        for tokens, model in zip(self, whose, strict=True):
            if tokens:
                return f"the log-probability of {tokens:g} tokens in the update{model}"
        return "the loss" if not math.isfinite(loss) else None if math.isfinite(gradient_norm) else "the gradient norm"


def not_finite_credit(rewards: Tensor, advantage: Tensor) -> str | None:
    """The same of what episodes are credited with, [B] each."""
    for name, values in (("reward", rewards), ("advantage", advantage)):
        if episodes := count_not_finite(values):
            return f"the {name} of {episodes:g} episodes in the update"
    return None


def count_not_finite(values: Tensor) -> float:
    return float((~values.detach().isfinite()).sum())
