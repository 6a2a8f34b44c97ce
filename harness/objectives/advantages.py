"""Group-relative advantages (GRPO, arXiv 2402.03300, section 4.1.2), as verl computes them."""

from __future__ import annotations

import torch
from torch import Tensor

STD_EPSILON = 1e-6


def group_relative(rewards: Tensor, group: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-6) within each group, sample standard deviation (ddof 1).

    A singleton group has mean 0 and std 1 (verl). A group of equal rewards gives exactly 0, hence no gradient: the
    rounding error of its mean is not divided by epsilon.

    Args:
        rewards: [B].
        group: int64 [B], labels in any order.

    Returns:
        float64 [B], detached.

    Raises:
        ValueError: if the shapes differ or are not one-dimensional.
    """
    if rewards.shape != group.shape or rewards.ndim != 1:
        raise ValueError(f"rewards {list(rewards.shape)} and group {list(group.shape)}: the same [B] expected")
    r = rewards.detach().double()
    labels, index = torch.unique(group, return_inverse=True)
    zeros = r.new_zeros(len(labels))
    size = torch.bincount(index, minlength=len(labels))
    mean = zeros.index_add(0, index, r) / size
    variance = zeros.index_add(0, index, (r - mean[index]) ** 2) / (size - 1).clamp(min=1)
    lowest = zeros.scatter_reduce(0, index, r, "amin", include_self=False)
    highest = zeros.scatter_reduce(0, index, r, "amax", include_self=False)
    single = size == 1
    mean = torch.where(single, torch.zeros_like(mean), mean)
    std = torch.where(single, torch.ones_like(mean), variance.sqrt())
    advantage = (r - mean[index]) / (std[index] + STD_EPSILON)
    equal = (lowest == highest) & ~single
    return torch.where(equal[index], torch.zeros_like(advantage), advantage)
