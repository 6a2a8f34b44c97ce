"""Padded random batches as TRL and verl see them: [B, L] tensors with a mask of several runs a row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """B rows in float64. `old`, `logp` [B, L] hold noise outside the mask, which must not matter."""

    mask: Tensor
    logp: Tensor
    old: Tensor
    advantage: Tensor


def padded_batch(units, seed=0, spread=0.3, row_spread=0.0, gap=2):
    """Rows of units with `gap` observation tokens between them, right-padded to one length and three more.

    `spread` is the standard deviation of a token's log-ratio about its row's, `row_spread` that of rows. Log-ratios
    beyond +-1 are cut off, so that no ratio reaches verl's dual clip at 3.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [[m for n in lengths for m in [1] * n + [0] * gap] for lengths in units]
    width = max(map(len, rows)) + 3
    mask = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    old = -3 * torch.rand(mask.shape, generator=generator, dtype=torch.float64)
    delta = spread * torch.randn(mask.shape, generator=generator, dtype=torch.float64)
    delta += row_spread * torch.randn(len(rows), 1, generator=generator, dtype=torch.float64)
    delta.clamp_(-1, 1)
    advantage = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    return Padded(mask, (old + delta).requires_grad_(), old, advantage)


BATCHES = {
    "several units": padded_batch([[3, 1, 4], [2], [5, 5], [1, 1, 1, 1]], seed=1),
    "twenty units and one": padded_batch([[2] * 20, [30]], seed=2),
    "one token": padded_batch([[1], [1]], seed=3),
    "wide ratios": padded_batch([[6, 2], [4, 4, 4], [9], [3, 8]], seed=4, spread=0.5, row_spread=1.0),
    "ratios of one": padded_batch([[3, 3], [4]], seed=5, spread=0.0),
}
