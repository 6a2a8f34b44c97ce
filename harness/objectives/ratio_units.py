"""Ratio units: which policy tokens share one importance ratio. Pure functions, no torch.

A ratio unit is a function of one trajectory's Think-Action units that returns the lengths of consecutive segments. The
lengths are positive and sum to the trajectory's policy tokens. To add one: write the function and name it in
`RATIO_UNITS`.

`random`, `fixed` and `shifted` are controls for the claim that Think-Action boundaries matter: each gives exactly as
many segments in each trajectory as `subsequence`, but other boundaries.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHIFT_SHARE = 0.5
"""How far `shifted` moves a boundary: this share of the unit that follows it."""


@dataclass(frozen=True, slots=True)
class UnitLayout:
    """The Think-Action units of one trajectory: the input of every ratio unit.

    Args:
        lengths: policy tokens of each unit, all positive. Empty for a trajectory without policy tokens.
        action_starts: tokens of each unit before its action half, in [0, length].
        seed: entropy of the `random` control, see `layout_seed`.

    Raises:
        ValueError: if the two differ in number, a unit is empty or an action starts outside its unit.
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
"""Policy tokens of consecutive segments: positive, int64 [K]."""
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


def random_boundaries(units: UnitLayout) -> Lengths:
    """Control: K_i segments, uniform over the compositions of n_i into K_i positive parts."""
    total, parts = sum(units.lengths), len(units.lengths)
    if not parts:
        return np.zeros(0, dtype=np.int64)
    rng = np.random.default_rng(units.seed)
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False) + 1)  # distinct cuts <=> positive parts
    return np.diff(np.concatenate([[0], cuts, [total]])).astype(np.int64)


def equal_blocks(units: UnitLayout) -> Lengths:
    """Control: K_i segments whose lengths differ by at most one token."""
    total, parts = sum(units.lengths), len(units.lengths)
    return np.diff(np.arange(parts + 1, dtype=np.int64) * total // max(parts, 1))


def shifted_boundaries(units: UnitLayout, share: float = SHIFT_SHARE) -> Lengths:
    """Control: each boundary moves `share` of the following unit's length (rounded down) into that unit.

    It stays before that unit's end, so K_i is kept. Raises ValueError unless `share` is in [0, 1).
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
    "random": random_boundaries,
    "fixed": equal_blocks,
    "shifted": shifted_boundaries,
}


def layout_seed(seed: int, sample_seed: int, question_id: str) -> int:
    """`UnitLayout.seed` from the run's seed and the trajectory's identity; equal on every machine."""
    entropy = np.random.SeedSequence([seed, sample_seed, zlib.crc32(question_id.encode())])
    return int(entropy.generate_state(1, np.uint64)[0])
