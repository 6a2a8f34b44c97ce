"""Constraints on settings, which rooms declare without pydantic."""

from __future__ import annotations

from typing import Annotated, Any


class Constraint:
    """Constraint on a setting, as a keyword of pydantic's core schema: `Constraint(gt=0)`.

    Settings are plain frozen dataclasses, which `harness.config` validates; a room declares them without pydantic.
    """

    def __init__(self, **keywords: Any) -> None:
        self._keywords = keywords

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> dict[str, Any]:
        return {**handler(source), **self._keywords}


Positive = Annotated[float, Constraint(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Constraint(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Constraint(ge=0, le=1)]
MAX_NUMBER = 2**31 - 1
Count = Annotated[int, Constraint(ge=1, le=MAX_NUMBER)]
SmallCount = Annotated[int, Constraint(ge=1, le=1000)]
"""A count of what each costs memory or a connection of its own."""
Tokens = Annotated[int, Constraint(ge=1, le=2**20)]
"""A length in tokens, of which memory is reserved."""
Seconds = Annotated[float, Constraint(gt=0, le=7 * 86_400)]
NaturalNumber = Annotated[int, Constraint(ge=0, le=MAX_NUMBER)]
NonEmptyText = Annotated[str, Constraint(min_length=1)]
Names = Annotated[tuple[str, ...], Constraint(min_length=1)]
SuiteName = Annotated[str, Constraint(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A part of metric names, which a store limits."""
SuiteNames = Annotated[tuple[SuiteName, ...], Constraint(min_length=1)]
