"""Settings of `analysis.requires`: manipulation checks and controls, evaluated by `analysis/requirements.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from harness.config.schema import Section
from harness.types import Count, Fraction, Positive

Name = Annotated[str, Field(min_length=1)]


class OperatorCalled(Section):
    """Episodes of the last evaluation that call an operator, in the treatment arms."""

    kind: Literal["called"]
    operator: Name
    at_least: Fraction


class MetricLevel(Section):
    """Mean over seeds of a metric at the last step against a bound."""

    kind: Literal["level"]
    metric: Name
    at_least: float | None = None
    at_most: float | None = None
    of: Literal["all", "some"] = "all"
    """Whether every arm must be within the bounds, or one is enough."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise PydanticCustomError("bounds", "a level needs at_least or at_most")
        return self


class ArmsDiffer(Section):
    """Treatment and baseline differ in a metric (of training: mean over steps), as designed."""

    kind: Literal["differ"]
    metric: Name
    at_least: Positive


class ArmsAgree(Section):
    """Treatment and baseline agree in a metric (of training: mean over steps), as designed."""

    kind: Literal["agree"]
    metric: Name
    at_most: Positive


class ArmLearns(Section):
    """Some arm's metric rises from step 0 to the last step."""

    kind: Literal["learns"]
    metric: Name
    at_least: Positive
    beyond_form: bool = False
    """Among episodes that gave an answer: answering at all does not count as answering right."""


class QuestionsDiscriminate(Section):
    """Share of questions that some runs answer right and others do not."""

    kind: Literal["discriminates"]
    at_least: Fraction
    between: Annotated[tuple[Fraction, Fraction], Field(strict=False)] = (0.1, 0.9)
    """Bounds of a question's share of right answers over runs, both exclusive."""


class FaultsMet(Section):
    """Episodes of each arm that met an injected fault."""

    kind: Literal["exposed"]
    at_least: Count


class Control(Section):
    """A contrast with a known answer: a placebo must not be found, a planted effect must."""

    kind: Literal["control"]
    metric: Name
    axis: str | None = None
    """null: the axis of the primary contrast."""
    contrast: Annotated[tuple[Any, ...], Field(min_length=2, max_length=2, strict=False)]
    expect: Literal["none", "higher", "lower"]


Requirement = Annotated[
    OperatorCalled | MetricLevel | ArmsDiffer | ArmsAgree | ArmLearns | QuestionsDiscriminate | FaultsMet | Control,
    Field(discriminator="kind"),
]
