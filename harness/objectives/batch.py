"""Build a `Segmentation` from `Trajectory` objects: the only module here that knows the harness's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from harness.objectives.ratio_units import UnitLayout, layout_seed
from harness.objectives.segmentation import Segmentation, segment
from harness.types import Trajectory


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
