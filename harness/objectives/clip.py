"""The clip band: fixed, or moved so that a wanted share of units is clipped.

A unit of ratio x and advantage A is *clipped* when the clipped branch is active, that is when its gradient is zero:
x > 1 + high and A > 0, or x < 1 - low and A < 0. Shares are of the units with A != 0: a group whose rewards are all
equal has nothing to clip, and must not pass for restraint.

Why matched. The mean of n log-ratios spreads about 1/sqrt(n) as wide as one, so a band of 0.2 that clips a token now
and then never clips a sequence: at one shared band, comparing ratio units compares clipping.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

UNMOVED = 1e-5
"""Ratios this close to 1 are numerical noise: the policy has not moved since the rollouts (float32 log-probs)."""
SMALLEST_SCALE, LARGEST_SCALE = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class ClipBand:
    """Ratios are clipped to [1 - low, 1 + high]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low > 0 and self.high > 0):
            raise ValueError(f"clip band ({self.low}, {self.high}): both must be positive")


@dataclass(frozen=True, slots=True)
class FixedClip:
    """A band that stays."""

    low: float
    high: float

    @property
    def band(self) -> ClipBand:
        return ClipBand(self.low, self.high)

    def observe(self, ratio: Tensor, advantage: Tensor) -> FixedClip:
        """Nothing is learnt from the ratios [S] and advantages [S] of a batch."""
        return self

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, float]) -> FixedClip:
        return self


@dataclass(frozen=True, slots=True)
class MatchedClip:
    """A band that holds the clipped share of units at `target`; immutable, `observe` returns the next state.

    The band is (low, high) times a scale; low and high give its shape and its start. After each batch the scale moves
    towards the one that would have clipped exactly the target share there (an order statistic), averaging in the
    logarithm: over all batches at first, then over about the last 1 / `rate`.

    Feed `observe` the units of all updates made on one rollout batch together, so that the share is held over the
    batch: ratios widen from one update to the next, and are all 1 in the first.
    """

    target: float
    low: float
    high: float
    rate: float = 0.3
    log_scale: float = 0.0
    observed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.target < 1 or not 0 < self.rate <= 1:
            raise ValueError(f"target {self.target} must lie in (0, 1), rate {self.rate} in (0, 1]")

    @property
    def band(self) -> ClipBand:
        scale = math.exp(self.log_scale)
        return ClipBand(self.low * scale, self.high * scale)

    def observe(self, ratio: Tensor, advantage: Tensor) -> MatchedClip:
        """The next state, from ratios [S] and advantages [S]. Unchanged when no unit with A != 0 has moved from 1."""
        informative = advantage != 0
        x, sign = ratio[informative].detach().double(), advantage[informative].sign().double()
        if len(x) == 0 or float((x - 1).abs().max()) <= UNMOVED:
            return self
        shape = torch.where(sign > 0, self.high, self.low)
        excess = sign * (x - 1) / shape  # a unit is clipped exactly when its excess is greater than the scale
        clipped = min(round(self.target * len(excess)), len(excess) - 1)
        wanted = float(excess.kthvalue(len(excess) - clipped).values)
        wanted = min(max(wanted, SMALLEST_SCALE), LARGEST_SCALE)
        gain = max(self.rate, 1 / (self.observed + 1))
        log_scale = self.log_scale + gain * (math.log(wanted) - self.log_scale)
        return replace(self, log_scale=log_scale, observed=self.observed + 1)

    def state(self) -> dict[str, float]:
        """What a checkpoint keeps: plain numbers."""
        kept = asdict(self)
        return {"log_scale": kept["log_scale"], "observed": kept["observed"]}

    def restore(self, state: dict[str, float]) -> MatchedClip:
        """This clip, in the state of a checkpoint."""
        return replace(self, log_scale=float(state["log_scale"]), observed=int(state["observed"]))


Clip = FixedClip | MatchedClip
