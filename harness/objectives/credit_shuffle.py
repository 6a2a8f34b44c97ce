"""Shuffled credit: a handicap of known dose for the assay of a design."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def shuffle_credit(advantage: Tensor, group: Tensor, share: float, seed: int) -> Tensor:
    """Advantages in which each group is, with probability `share`, permuted at random among its trajectories.

    A permuted group keeps the size of its gradient's terms and loses its direction: a handicap of known dose.

    Args:
        advantage: [B].
        group: int64 [B], labels in any order.
        share: in [0, 1]. The groups chosen at one share are among those chosen at any larger one.

    Returns:
        [B], of the type of `advantage`.
    """
    rng = np.random.default_rng(seed)
    shuffled = advantage.clone()
    for label in torch.unique(group):
        members = torch.nonzero(group == label).flatten()
        chosen, order = rng.random() < share, rng.permutation(len(members))
        if chosen:
            shuffled[members] = advantage[members[torch.from_numpy(order)]]
    return shuffled
