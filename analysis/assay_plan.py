"""The `assay:` of a registered plan: a planted effect that the design must detect, and a placebo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AssayPlan:
    """Fields as in `harness.config.assay.Assay`. `effect` (handicap − baseline) is in the metric's unit."""

    effect: float
    at_least: float = 0.8
    handicap: Mapping[str, Any] | None = None

    @property
    def handicap_text(self) -> str:
        """The handicap's settings: "objective.credit_shuffle=0.5"."""
        return ", ".join(f"{name}={value}" for name, value in (self.handicap or {}).items())


def read_assay_plan(section: Mapping[str, Any] | None) -> AssayPlan | None:
    """The plan of an `assay:` section, None without one. Raises KeyError, TypeError or ValueError."""
    if section is None:
        return None
    return AssayPlan(float(section["effect"]), float(section.get("at_least", 0.8)), section.get("handicap"))
