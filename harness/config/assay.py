"""Settings of `analysis.assay`: planted effects that measure what the design detects."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from harness.config.schema import Section
from harness.types import Count, Fraction

HANDICAP, PLACEBO = "handicap", "placebo"
"""Values that the arms of an assay take on the axis of the primary contrast."""
PLACEBO_STREAM = 1
"""`rollout.stream` of a placebo, where its baseline has 0."""


class Assay(Section):
    """A known handicap and a placebo, compared with the baseline of the primary contrast as the treatment is."""

    effect: float
    """Difference that the handicap makes (handicap − baseline), in units of the metric; it is planted in simulated
    studies with the planned seeds, whose share of significant results is the detection rate."""
    at_least: Fraction = 0.8
    """Detection rate below which the design cannot tell."""
    handicap: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    """Settings that make the baseline worse, such as {objective.credit_shuffle: 0.5}. The arms `handicap` (the baseline
    with them) and `placebo` (the baseline with other random streams) then run beside the study's; null: simulation
    alone."""
    seeds: Count | None = None
    """How many of the study's seeds, in order, these arms take; null: all."""

    @field_validator("effect")
    @classmethod
    def _planted(cls, value: float) -> float:
        if value == 0:
            raise PydanticCustomError("effect", "must not be 0: that is the placebo's")
        return value
