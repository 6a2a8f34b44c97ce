"""Which tokens share an importance ratio: seven segmentations of the same policy tokens.

Invariant: segments partition the policy tokens of a mini-batch, in order, each non-empty and inside one trajectory.
Every ratio unit is a function of one trajectory's Think-Action units to positive segment lengths that sum to the same
token count, so the invariant holds by construction; `Segmentation` checks it once more.

`random`, `fixed` and `shifted` are controls for the claim that Think-Action boundaries matter: each has exactly as
many segments in each trajectory as `subsequence`, but other boundaries.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHIFT_SHARE = 0.5
"""How far `shifted` moves a boundary, as a share of the unit that follows it: to its middle, as far as can be."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """S contiguous segments that partition T policy tokens of B trajectories.

    Args:
        segment_of_token: int64 [T], 0, 0, 1, ...: rises by at most one, reaches every segment.
        trajectory_of_segment: int64 [S], non-decreasing, in [0, B). A trajectory may own no segment.
        n_trajectories: B.

    Raises:
        ValueError: when the tensors are not such a partition.
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
        """int64 [T]."""
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
        """The micro-batch made of these whole trajectories, in this order (each at most once).

        Raises:
            ValueError: on a repeated trajectory or one outside [0, B).
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
    """A micro-batch: its own segmentation, and where its trajectories [B'], segments [S'] and tokens [T'] lie in the
    mini-batch (int64 indices). Weights must be those of the mini-batch: `weights[selection.segments]`."""

    segmentation: Segmentation
    trajectories: Tensor
    segments: Tensor
    tokens: Tensor


def _members(owners: Tensor, counts: Tensor) -> Tensor:
    """Indices of the items of `owners`, where owner j has the `counts[j]` consecutive items after those of j - 1."""
    ends = counts.cumsum(0)
    sizes = counts[owners]
    first_here = sizes.cumsum(0) - sizes
    shift = (ends[owners] - sizes - first_here).repeat_interleave(sizes)
    return torch.arange(len(shift), device=counts.device) + shift


@dataclass(frozen=True, slots=True)
class UnitLayout:
    """The Think-Action units of one trajectory, all a segmentation may depend on.

    Args:
        lengths: policy tokens of each unit, all positive. May be empty (a trajectory that holds no policy token).
        action_starts: in each unit, the tokens before its action half, in [0, length].
        seed: entropy of the `random` control; the same for the same sampled trajectory, another for any other.
    """

    lengths: tuple[int, ...]
    action_starts: tuple[int, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.action_starts):
            raise ValueError(f"{len(self.lengths)} units but {len(self.action_starts)} action starts")
        if any(n <= 0 or not 0 <= a <= n for n, a in zip(self.lengths, self.action_starts, strict=True)):
            raise ValueError(f"units {self.lengths} with actions at {self.action_starts}: empty unit or action outside")


Lengths = NDArray[np.int64]
RatioUnit = Callable[[UnitLayout], Lengths]


def token(units: UnitLayout) -> Lengths:
    """Every token is a segment (GRPO, PPO)."""
    return np.ones(sum(units.lengths), dtype=np.int64)


def think_action(units: UnitLayout) -> Lengths:
    """Each unit split where its action begins; an empty half is dropped."""
    lengths = np.asarray(units.lengths, dtype=np.int64)
    think = np.asarray(units.action_starts, dtype=np.int64)
    halves = np.stack([think, lengths - think], axis=1).reshape(-1)
    return halves[halves > 0]


def subsequence(units: UnitLayout) -> Lengths:
    """Each Think-Action unit is a segment (GSsPO)."""
    return np.asarray(units.lengths, dtype=np.int64)


def sequence(units: UnitLayout) -> Lengths:
    """The whole trajectory is one segment (GSPO)."""
    return np.asarray([sum(units.lengths)] if units.lengths else [], dtype=np.int64)


def random(units: UnitLayout) -> Lengths:
    """Control: as many segments as units, uniform over the compositions of n_i into K_i positive parts."""
    total, parts = sum(units.lengths), len(units.lengths)
    if not parts:
        return np.zeros(0, dtype=np.int64)
    rng = np.random.default_rng(units.seed)
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False) + 1)  # distinct cuts <=> positive parts
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)


def fixed(units: UnitLayout) -> Lengths:
    """Control: as many segments as units, of lengths that differ by at most one."""
    total, parts = sum(units.lengths), len(units.lengths)
    return np.diff(np.arange(parts + 1, dtype=np.int64) * total // max(parts, 1))


def shifted(units: UnitLayout, share: float = SHIFT_SHARE) -> Lengths:
    """Control: the boundary before each unit moves `share` of that unit's length (rounded down) into it.

    A boundary stays before the end of the unit it moves into, so none is lost whatever the lengths.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share {share} outside [0, 1)")
    if not units.lengths:
        return np.zeros(0, dtype=np.int64)
    lengths = np.asarray(units.lengths, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths
    moved = starts + np.floor(share * lengths).astype(np.int64)
    return np.diff(np.concatenate([[0], moved[1:], [lengths.sum()]])).astype(np.int64)


RATIO_UNITS: dict[str, RatioUnit] = {
    "token": token,
    "think_action": think_action,
    "subsequence": subsequence,
    "sequence": sequence,
    "random": random,
    "fixed": fixed,
    "shifted": shifted,
}


def segment(layouts: Sequence[UnitLayout], ratio_unit: str) -> Segmentation:
    """Cut the tokens of B trajectories by a ratio unit of `RATIO_UNITS`.

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


def layout_seed(seed: int, sample_seed: int, question_id: str) -> int:
    """Entropy for `UnitLayout.seed` from a run's seed and a trajectory's identity; the same on every machine."""
    entropy = np.random.SeedSequence([seed, sample_seed, zlib.crc32(question_id.encode())])
    return int(entropy.generate_state(1, np.uint64)[0])
