"""Clip bands: fixed, or adapted to a target clip fraction.

A unit of ratio x and advantage A is *clipped* when the clipped branch is active, that is when its gradient is zero:
x > 1 + high and A > 0, or x < 1 - low and A < 0. The clip fraction counts units with A != 0 only: a group of equal
rewards has nothing to clip and would dilute it.

Why match the fraction: the standard deviation of a mean of n log-ratios shrinks like 1/sqrt(n), so a band of 0.2 that
clips some tokens never clips a sequence. At one shared band, a comparison of ratio units compares clipping.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.objectives.clip_settings import ClipBand, ClipSettings

UNMOVED = 1e-5
"""|ratio - 1| up to this is float32 noise: the policy has not been updated since the rollouts."""
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class FixedClip(ClipBand):
    """A constant band."""

    @property
    def band(self) -> ClipBand:
        return ClipBand(self.low, self.high)

    def observe(self, ratio: Tensor, advantage: Tensor) -> FixedClip:
        """This clip, unchanged. ratio, advantage: [S]."""
        return self

    def state(self) -> dict[str, float]:
        """Checkpoint state: empty."""
        return {}

    def restore(self, state: dict[str, float]) -> FixedClip:
        return self


@dataclass(frozen=True, slots=True)
class MatchedClip:
    """A band adapted to hold the clip fraction at `settings.target`. Immutable: `observe` returns the next state.

    The band is the settings' (low, high) times a scale that starts at 1. After each batch the scale moves towards the
    one that would have clipped exactly the target fraction there (an order statistic): a running mean of log-scales at
    first, then an exponential moving average with coefficient `rate`.

    Call `observe` once per rollout batch, with the units of all its updates: ratios are 1 in the first update and
    spread from one update to the next, and the target holds for the batch as a whole.

    Raises:
        ValueError: if the target is not in (0, 1) or `rate` not in (0, 1].
    """

    settings: ClipSettings
    rate: float = 0.3
    log_scale: float = 0.0
    observed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self._target < 1 or not 0 < self.rate <= 1:
            raise ValueError(f"target {self.settings.target} must lie in (0, 1), rate {self.rate} in (0, 1]")

    @property
    def _target(self) -> float:
        return self.settings.target or 0.0  # a band without a target is refused

    @property
    def band(self) -> ClipBand:
        scale = math.exp(self.log_scale)
        return ClipBand(self.settings.low * scale, self.settings.high * scale)

    def observe(self, ratio: Tensor, advantage: Tensor) -> MatchedClip:
        """The next state. ratio, advantage: [S]. Unchanged if every unit with A != 0 still has ratio 1."""
        informative = advantage != 0
        x, sign = ratio[informative].detach().double(), advantage[informative].sign().double()
        if len(x) == 0 or float((x - 1).abs().max()) <= UNMOVED:
            return self
        shape = torch.where(sign > 0, self.settings.high, self.settings.low)
        excess = sign * (x - 1) / shape  # a unit is clipped exactly when its excess is greater than the scale
        clipped = min(round(self._target * len(excess)), len(excess) - 1)
        wanted = float(excess.kthvalue(len(excess) - clipped).values)
        wanted = min(max(wanted, SMALLEST_SCALE), LARGEST_SCALE)
        gain = max(self.rate, 1 / (self.observed + 1))
        log_scale = self.log_scale + gain * (math.log(wanted) - self.log_scale)
        return replace(self, log_scale=log_scale, observed=self.observed + 1)

    def state(self) -> dict[str, float]:
        """Checkpoint state: plain numbers."""
        return {"log_scale": self.log_scale, "observed": self.observed}

    def restore(self, state: dict[str, float]) -> MatchedClip:
        """This clip with a checkpoint's `state`."""
        return replace(self, log_scale=float(state["log_scale"]), observed=int(state["observed"]))


Clip = FixedClip | MatchedClip


def make_clip(settings: ClipSettings) -> Clip:
    """The clip of a configuration, in its initial state."""
    if settings.target is None:
        return FixedClip(settings.low, settings.high)
    return MatchedClip(settings)
