"""Tensors of a mini-batch from `Trajectory` objects: the only module here that knows the harness's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.objectives.ratio_units import UnitLayout, layout_seed
from harness.objectives.segmentation import Segmentation, segment
from harness.objectives.turn_table import TurnTable
from harness.types import Group, Trajectory


def unit_layout(trajectory: Trajectory, seed: int = 0) -> UnitLayout:
    """The Think-Action units of a trajectory, one per turn. `seed` is the run's."""
    return UnitLayout(
        lengths=tuple(len(turn.tokens) for turn in trajectory.turns),
        action_starts=tuple(turn.action_start for turn in trajectory.turns),
        seed=layout_seed(seed, trajectory.sample_seed, trajectory.question.id),
    )


def segment_batch(trajectories: Sequence[Trajectory], ratio_unit: str, *, seed: int = 0) -> Segmentation:
    """Segmentation of the policy tokens of a mini-batch, in trajectory order (as `Trajectory.sampled_logprobs`).

    Args:
        ratio_unit: key of `RATIO_UNITS`.
        seed: the run's. Only the `random` control reads it; a trajectory is cut alike in every batch.

    Raises:
        KeyError: for an unknown ratio unit.
    """
    return segment([unit_layout(trajectory, seed) for trajectory in trajectories], ratio_unit)


def turn_table(groups: Sequence[Group], rewards: Sequence[Sequence[float]]) -> TurnTable:
    """The turns of rollout groups with their rewards, a sequence a trajectory.

    The anchor state of a turn is its question with the set of observations read before, token by token: their order and
    repetitions do not count, warnings do.

    Raises:
        ValueError: if the rewards are not one a turn.
    """
    trajectories = [(g, t) for g, group in enumerate(groups) for t in group.trajectories]
    states: dict[tuple[int, frozenset[tuple[int, ...]]], int] = {}
    rows: list[tuple[int, int, int, int, bool]] = []
    for i, ((g, trajectory), given) in enumerate(zip(trajectories, rewards, strict=True)):
        if len(given) != len(trajectory.turns):
            raise ValueError(f"{len(given)} rewards for {len(trajectory.turns)} turns")
        read: frozenset[tuple[int, ...]] = frozenset()
        after_result = False
        for turn in trajectory.turns:
            state = states.setdefault((g, read), len(states))
            rows.append((i, g, state, len(turn.tokens), after_result))
            read |= {turn.observation_tokens}
            after_result |= turn.parsed.action is not None
    owner, question, label, tokens, after = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5).unbind(1)
    reward = torch.tensor([r for given in rewards for r in given], dtype=torch.float64)
    return TurnTable(reward, owner, question, label, tokens, after.bool())


def unit_of_token(trajectories: Sequence[Trajectory]) -> Tensor:
    """Unit index of each policy token in the batch's units, trajectory by trajectory: int64 [T]."""
    lengths = torch.tensor([len(turn.tokens) for t in trajectories for turn in t.turns], dtype=torch.int64)
    return torch.arange(len(lengths)).repeat_interleave(lengths)


def action_tokens(trajectories: Sequence[Trajectory]) -> Tensor:
    """Whether each policy token is in the action half of its turn: bool [T]."""
    halves = [(turn.action_start, len(turn.tokens) - turn.action_start) for t in trajectories for turn in t.turns]
    lengths = torch.tensor(halves, dtype=torch.int64).reshape(-1)
    return (torch.arange(len(lengths)) % 2 == 1).repeat_interleave(lengths)
