"""Segmentation of a mini-batch's policy tokens: the index tensors that every objective reads.

Invariant: segments partition the policy tokens of a mini-batch, in order, each non-empty and inside one trajectory.
Ratio units guarantee it for each trajectory; `Segmentation` checks it for the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harness.objectives.ratio_units import RATIO_UNITS, UnitLayout


@dataclass(frozen=True, eq=False)
class Segmentation:
    """S contiguous segments that partition T policy tokens of B trajectories.

    Args:
        segment_of_token: int64 [T]: starts at 0, rises by at most one, ends at S - 1.
        trajectory_of_segment: int64 [S], non-decreasing, in [0, B). A trajectory may have no segment.
        n_trajectories: B.

    Raises:
        ValueError: if the tensors are not such a partition.
    """

    segment_of_token: Tensor
    trajectory_of_segment: Tensor
    n_trajectories: int

    def __post_init__(self) -> None:
        token, owner = self.segment_of_token, self.trajectory_of_segment
        for name, index in (("segment_of_token", token), ("trajectory_of_segment", owner)):
            if index.dtype != torch.int64 or index.ndim != 1:
                raise ValueError(f"{name}: int64 [n] expected, got {index.dtype} {list(index.shape)}")
        if (len(token) == 0) != (len(owner) == 0):
            raise ValueError(f"{len(token)} tokens in {len(owner)} segments")
        if len(token) == 0:
            return
        step = token.diff()
        if int(token[0]) != 0 or bool(((step != 0) & (step != 1)).any()) or int(token[-1]) != len(owner) - 1:
            raise ValueError("segment_of_token must run 0, 1, ... in order, without a gap, to the last segment")
        if int(owner[0]) < 0 or int(owner[-1]) >= self.n_trajectories or bool((owner.diff() < 0).any()):
            raise ValueError(f"trajectory_of_segment must be non-decreasing in [0, {self.n_trajectories})")

    @property
    def n_tokens(self) -> int:
        return len(self.segment_of_token)

    @property
    def n_segments(self) -> int:
        return len(self.trajectory_of_segment)

    @cached_property
    def tokens_per_segment(self) -> Tensor:
        """n_ik, int64 [S]."""
        return torch.bincount(self.segment_of_token, minlength=self.n_segments)

    @cached_property
    def segments_per_trajectory(self) -> Tensor:
        """K_i, int64 [B]."""
        return torch.bincount(self.trajectory_of_segment, minlength=self.n_trajectories)

    @cached_property
    def trajectory_of_token(self) -> Tensor:
        """Trajectory index of each token, int64 [T]."""
        return self.trajectory_of_segment[self.segment_of_token]

    @cached_property
    def tokens_per_trajectory(self) -> Tensor:
        """n_i, int64 [B]."""
        return torch.bincount(self.trajectory_of_token, minlength=self.n_trajectories)

    def to(self, device: torch.device | str) -> Segmentation:
        return Segmentation(
            self.segment_of_token.to(device), self.trajectory_of_segment.to(device), self.n_trajectories
        )

    def select(self, trajectories: Sequence[int]) -> Selection:
        """The micro-batch of these trajectories, whole and in this order.

        Raises:
            ValueError: if an index is repeated or outside [0, B).
        """
        chosen = [int(i) for i in trajectories]
        if len(set(chosen)) != len(chosen) or not all(0 <= i < self.n_trajectories for i in chosen):
            raise ValueError(f"{chosen}: each trajectory of [0, {self.n_trajectories}) at most once")
        device = self.segment_of_token.device
        which = torch.tensor(chosen, dtype=torch.int64, device=device)
        segments = _members(which, self.segments_per_trajectory)
        tokens = _members(which, self.tokens_per_trajectory)
        part = Segmentation(
            torch.arange(len(segments), device=device).repeat_interleave(self.tokens_per_segment[segments]),
            torch.arange(len(chosen), device=device).repeat_interleave(self.segments_per_trajectory[which]),
            len(chosen),
        )
        return Selection(part, which, segments, tokens)


@dataclass(frozen=True, eq=False)
class Selection:
    """A micro-batch: its segmentation, and the mini-batch indices of its trajectories [B'], segments [S'], tokens [T'].

    Reduction weights must be those of the mini-batch: `weights[selection.segments]`.
    """

    segmentation: Segmentation
    trajectories: Tensor
    segments: Tensor
    tokens: Tensor


def _members(owners: Tensor, counts: Tensor) -> Tensor:
    """Item indices of `owners`, where owner j has `counts[j]` consecutive items, after those of owner j - 1."""
    ends = counts.cumsum(0)
    sizes = counts[owners]
    first_here = sizes.cumsum(0) - sizes
    shift = (ends[owners] - sizes - first_here).repeat_interleave(sizes)
    return torch.arange(len(shift), device=counts.device) + shift


def segment(layouts: Sequence[UnitLayout], ratio_unit: str) -> Segmentation:
    """Segmentation of B trajectories by a ratio unit of `RATIO_UNITS`.

    Raises:
        KeyError: for an unknown ratio unit.
    """
    cut = RATIO_UNITS[ratio_unit]
    pieces = [cut(units) for units in layouts]
    lengths = np.concatenate([*pieces, np.zeros(0, dtype=np.int64)])
    owners = np.repeat(np.arange(len(pieces)), [len(p) for p in pieces])
    return Segmentation(
        torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)), torch.from_numpy(owners), len(pieces)
    )
