"""Statistics of a mini-batch by segment, of any surrogate: what the loss's gradient does to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from harness.objectives.loss import ObjectiveOutput
from harness.objectives.segmentation import Segmentation


@dataclass(frozen=True, slots=True)
class UnitSums:
    """Sums over segments and trajectories, additive over micro-batches.

    Segments with A > 0 (`up`) and A < 0 (`down`), and those of them without a gradient (gated); `mass`,
    `mass_squared`: over trajectories, of c_i = sum_t |d loss / d log pi_t| and c_i^2; `units`, `ratio`,
    `ratio_squared`: all segments, x - 1 and (x - 1)^2.
    """

    up: float = 0.0
    gated_up: float = 0.0
    down: float = 0.0
    gated_down: float = 0.0
    mass: float = 0.0
    mass_squared: float = 0.0
    units: float = 0.0
    ratio: float = 0.0
    ratio_squared: float = 0.0

    def __add__(self, other: UnitSums) -> UnitSums:
        return UnitSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def metrics(self) -> dict[str, float]:
        """gated_positive, gated_negative: share of the segments with A > 0 (A < 0) without any gradient, 0 if there are
        none; ratio_std: standard deviation (ddof 0) of the segments' ratios; episodes_effective: (sum c)^2 / sum c^2,
        the number of equally weighing trajectories with as concentrated a gradient."""
        n = max(self.units, 1.0)
        return {
            "gated_positive": self.gated_up / max(self.up, 1.0),
            "gated_negative": self.gated_down / max(self.down, 1.0),
            "ratio_std": max(self.ratio_squared / n - (self.ratio / n) ** 2, 0.0) ** 0.5,
            "episodes_effective": self.mass**2 / self.mass_squared if self.mass_squared > 0 else 0.0,
        }


def unit_sums(output: ObjectiveOutput, logp: Tensor, segmentation: Segmentation) -> UnitSums:
    """Sums of a (micro-)batch, by the gradient of its loss with respect to log-probs.

    Args:
        output: of the policy objective; its graph is consumed.
        logp: [T], the leaf that it was computed from.
    """
    ratio, advantage = output.ratio, output.advantage
    (gradient,) = torch.autograd.grad(output.loss, logp)
    size = gradient.abs().double()
    zeros = size.new_zeros(segmentation.n_segments)
    still = zeros.index_add(0, segmentation.segment_of_token, size) == 0
    mass = size.new_zeros(segmentation.n_trajectories).index_add(0, segmentation.trajectory_of_token, size)
    moved = ratio.double() - 1
    counted: Sequence[Tensor] = (
        advantage > 0,
        still & (advantage > 0),
        advantage < 0,
        still & (advantage < 0),
        mass,
        mass**2,
        torch.ones_like(moved),
        moved,
        moved**2,
    )
    return UnitSums(*torch.stack([values.sum().double() for values in counted]).tolist())
