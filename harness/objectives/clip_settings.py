"""Settings of the clip band. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.types import Constraint, Positive


@dataclass(frozen=True, slots=True)
class ClipBand:
    """Ratios are clipped to [1 - low, 1 + high]. Raises ValueError unless both are positive."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        if not (self.low > 0 and self.high > 0):
            raise ValueError(f"clip band ({self.low}, {self.high}): both must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings(ClipBand):
    """fixed: the band [1 - low, 1 + high]; matched: that band scaled so that a share `target` of units is clipped."""

    kind: Literal["fixed", "matched"] = "fixed"
    target: Annotated[float, Constraint(gt=0, lt=1)] | None = None

    def __post_init__(self) -> None:
        if (self.kind == "matched") != (self.target is not None):
            raise ValueError("a matched clip needs a target, a fixed one has none")
