"""From `Trajectory` objects to the tensors the objectives read: the only place that knows both."""

from __future__ import annotations

from collections.abc import Sequence

from harness.objectives.ratio_units import Segmentation, UnitLayout, layout_seed, segment
from harness.types import Trajectory


def unit_layout(trajectory: Trajectory, seed: int = 0) -> UnitLayout:
    """The Think-Action units of a trajectory: one a turn."""
    return UnitLayout(
        lengths=tuple(len(turn.tokens) for turn in trajectory.turns),
        action_starts=tuple(turn.action_start for turn in trajectory.turns),
        seed=layout_seed(seed, trajectory.sample_seed, trajectory.question.id),
    )


def segment_batch(trajectories: Sequence[Trajectory], ratio_unit: str, *, seed: int = 0) -> Segmentation:
    """Segmentation of the policy tokens of a mini-batch, in trajectory order (as `Trajectory.sampled_logprobs`).

    Args:
        ratio_unit: key of `RATIO_UNITS`.
        seed: of the run; only the `random` control depends on it, and cuts a trajectory the same way in any batch.
    """
    return segment([unit_layout(trajectory, seed) for trajectory in trajectories], ratio_unit)
