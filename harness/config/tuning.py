"""Settings of `tuning:`: equal tuning of all arms, on seeds of its own, before the confirmatory trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from harness.config.identity import flatten
from harness.config.key_names import did_you_mean
from harness.config.schema import Section, TrialConfig
from harness.config.tree import find, locate
from harness.config.yaml_source import Node, Problem
from harness.types import Count

Seed = Annotated[int, Field(ge=0, lt=2**31)]


class TuningRange(Section):
    """What one setting is drawn from: an interval, or listed values."""

    low: float | None = None
    high: float | None = None
    scale: Literal["linear", "log"] = "linear"
    values: Annotated[tuple[Any, ...], Field(min_length=2, strict=False)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        bounds = (self.low, self.high)
        if (self.values is None) == (bounds == (None, None)) or (self.values is None and None in bounds):
            raise PydanticCustomError("range", "needs low and high, or values")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PydanticCustomError("range", "low must be less than high")
        if self.scale == "log" and (self.low is None or self.low <= 0):
            raise PydanticCustomError("range", "a log scale needs a positive low")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """The listed values, or the bounds."""
        return self.values if self.values is not None else (self.low, self.high)

    @property
    def text(self) -> str:
        """The range in a few words: "5e-05 to 0.0005 (log)", "one of 0, 0.001"."""
        if self.values is not None:
            return f"one of {', '.join(map(str, self.values))}"
        return f"{self.low:g} to {self.high:g}{' (log)' if self.scale == 'log' else ''}"


class Tuning(Section):
    """The registered plan of tuning. It is part of the plan's hash, whatever carries it out."""

    budget: Count
    """Configurations tried for each arm, as many for every arm."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, strict=False)]
    """Seeds that each configuration is trained with; none of the study's."""
    parameters: Annotated[dict[str, TuningRange], Field(min_length=1)]
    """Settings that are tuned, and their ranges. The outcome is that of the primary contrast."""


def tuning_fits(
    root: Node, tuning: Tuning, seeds: Sequence[int], cells: Sequence[tuple[dict[str, Any], TrialConfig]]
) -> list[Problem]:
    """Tuning takes seeds that the study does not, and settings that trials have and the study does not sweep."""
    at = locate(root, ("tuning", "seeds"))
    both = sorted(set(tuning.seeds) & set(seeds))
    problems = [Problem(at, f"seed {n} is the study's: tuning on it would favour what it finds") for n in both]
    for name in tuning.parameters:
        place = locate(root, ("tuning", "parameters", name), key=True)
        swept = any(name == axis or name.startswith(f"{axis}.") or axis.startswith(f"{name}.") for axis in _axes(root))
        if swept:
            problems.append(Problem(place, f"{name} is swept: it cannot be tuned, too"))
        for _, config in cells[:1]:
            known = flatten(config.model_dump(mode="json"))
            if name not in known:
                problems.append(Problem(place, f"no trial has the setting {name!r}", did_you_mean(name, known)))
    return problems


def _axes(root: Node) -> list[str]:
    parameters = find(root, "parameters")
    return list(parameters.value) if parameters is not None and parameters.is_mapping else []
