"""Advantage estimators: rewards of a minibatch and the group of each to one advantage a trajectory.

| estimator | advantage |
|---|---|
| `group_relative` (GRPO, arXiv 2402.03300, section 4.1.2; GSPO, GSsPO) | (R - mean) / (std + 1e-6) |
| `group_centred` (Dr. GRPO, 2503.20783) | R - mean |
| `leave_one_out` (RLOO, 2402.14740) | R - mean of the group's others |
| `none` | 0: turn credit alone (`turn_credit.py`) |

In all of them a singleton group has mean 0 and std 1 (verl), and a group of equal rewards gives exactly 0, hence no
gradient: the rounding error of its mean is not divided by epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # configuration reads the names of `ADVANTAGES`, and imports no torch
    from torch import Tensor

STD_EPSILON = 1e-6

AdvantageEstimator = Callable[["Tensor", "Tensor"], "Tensor"]
"""Rewards [B] and group labels, int64 [B] in any order, to advantages, float64 [B], detached."""


def group_relative(rewards: Tensor, group: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-6) within each group, sample standard deviation (ddof 1).

    Raises:
        ValueError: if the shapes differ or are not one-dimensional.
    """
    g = _grouped(rewards, group)
    variance = g.zeros.index_add(0, g.index, (g.r - g.true_mean[g.index]) ** 2) / (g.size - 1).clamp(min=1)
    std = variance.sqrt().masked_fill(g.size == 1, 1.0)
    return g.informative((g.r - g.mean[g.index]) / (std[g.index] + STD_EPSILON))


def group_centred(rewards: Tensor, group: Tensor) -> Tensor:
    """R - mean within each group. Raises ValueError as `group_relative`."""
    g = _grouped(rewards, group)
    return g.informative(g.r - g.mean[g.index])


def leave_one_out(rewards: Tensor, group: Tensor) -> Tensor:
    """R minus the mean of the other rewards of its group. Raises ValueError as `group_relative`."""
    g = _grouped(rewards, group)
    others = (g.size - 1).clamp(min=1)[g.index]
    return g.informative(g.r - (g.mean[g.index] * g.size[g.index] - g.r * (g.size[g.index] > 1)) / others)


def no_advantage(rewards: Tensor, group: Tensor) -> Tensor:
    """0 for every trajectory. Raises ValueError as `group_relative`."""
    return _grouped(rewards, group).r * 0


ADVANTAGES: dict[str, AdvantageEstimator] = {
    "group_relative": group_relative,
    "group_centred": group_centred,
    "leave_one_out": leave_one_out,
    "none": no_advantage,
}


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Rewards r [B] with the group `index` of each [B]; `size`, `true_mean`, `mean` (0 of a singleton) by group."""

    r: Tensor
    index: Tensor
    size: Tensor
    true_mean: Tensor
    mean: Tensor
    equal: Tensor
    zeros: Tensor

    def informative(self, advantage: Tensor) -> Tensor:
        return advantage.masked_fill(self.equal[self.index], 0.0)


def _grouped(rewards: Tensor, group: Tensor) -> _Grouped:
    if rewards.shape != group.shape or rewards.ndim != 1:
        raise ValueError(f"rewards {list(rewards.shape)} and group {list(group.shape)}: the same [B] expected")
    r = rewards.detach().double()
    labels, index = group.unique(return_inverse=True)
    zeros = r.new_zeros(len(labels))
    size = index.bincount(minlength=len(labels))
    mean = zeros.index_add(0, index, r) / size
    lowest = zeros.scatter_reduce(0, index, r, "amin", include_self=False)
    highest = zeros.scatter_reduce(0, index, r, "amax", include_self=False)
    single = size == 1
    return _Grouped(r, index, size, mean, mean.masked_fill(single, 0.0), (lowest == highest) & ~single, zeros)
