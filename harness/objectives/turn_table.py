"""Turns of a mini-batch as tensors: the input of turn credit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class TurnTable:
    """U turns of B trajectories, trajectory by trajectory and in order.

    Args:
        reward: float64 [U], of each turn.
        trajectory: int64 [U], starts at 0 and rises by at most one.
        question: int64 [U], label of the rollout group; equal in a trajectory.
        state: int64 [U], label of the anchor state before the turn: equal where question and the set of observations
            read so far are.
        tokens: int64 [U], policy tokens.
        after_result: bool [U], whether an operator's result had been read before the turn.

    Raises:
        ValueError: if the shapes differ, or trajectories are not in order.
    """

    reward: Tensor
    trajectory: Tensor
    question: Tensor
    state: Tensor
    tokens: Tensor
    after_result: Tensor

    def __post_init__(self) -> None:
        shapes = {f.name: list(getattr(self, f.name).shape) for f in fields(self)}
        if len({tuple(shape) for shape in shapes.values()}) != 1 or self.reward.ndim != 1:
            raise ValueError(f"one [U] expected, got {shapes}")
        step = self.trajectory.diff()
        if len(step) and (int(self.trajectory[0]) != 0 or bool(((step != 0) & (step != 1)).any())):
            raise ValueError("trajectories must run 0, 1, ... in order, without a gap")

    @property
    def n_turns(self) -> int:
        return len(self.reward)

    @cached_property
    def index(self) -> Tensor:
        """Position of each turn in its trajectory, int64 [U]."""
        lengths = torch.bincount(self.trajectory)
        return torch.arange(self.n_turns) - (lengths.cumsum(0) - lengths)[self.trajectory]
