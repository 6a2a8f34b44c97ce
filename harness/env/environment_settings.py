"""Settings of the environment: interface, operators, limits of an episode, perturbations, faults. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from harness.operators.operator_settings import BackendSettings, RetrievalSettings
from harness.types import Constraint, Count, Fraction, Names, NaturalNumber, NonEmptyText, SmallCount, Tokens


def _pool(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        if not value:
            raise ValueError("the pool is empty: name at least one operator")
        if len(set(value)) < len(value):
            raise ValueError("an operator is named twice")
        return tuple(value)
    raise ValueError("must be a list of operator names or the name of a pool")


@dataclass(frozen=True, slots=True)
class Perturbations:
    """Prompts beside the standard one, by name; `a+b` applies both."""

    train: tuple[str, ...]
    """Applied together in every training episode, and in the warm start's."""
    eval: tuple[str, ...]
    """Each a further evaluation beside the one under the standard prompt."""


@dataclass(frozen=True, slots=True)
class FaultScope:
    """Kinds of fault, and the calls that they may strike."""

    kinds: Names
    positions: Annotated[tuple[NaturalNumber, ...], Constraint(min_length=1)] | None = field(default=None, kw_only=True)
    """Calls of an episode that may be struck, from 0; null: all."""


@dataclass(frozen=True, slots=True)
class Faults(FaultScope):
    """Faults injected into operator results."""

    train_rate: Fraction
    """Share of these calls that are struck in training."""
    eval_rate: Fraction
    """In a further evaluation, whose fault-free counterparts are the ordinary one's episodes; 0: no such evaluation."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """Limits of an episode. It ends when its next turn has no room."""

    max_calls: SmallCount
    max_turns: Annotated[int, Constraint(ge=1, le=64)]
    """A turn's random stream is numbered within 64 of its episode."""
    max_turn_tokens: Tokens
    max_response_tokens: Tokens
    """All turns and observations of an episode together."""
    stop: tuple[NonEmptyText, ...] = ()
    """Strings that end a turn, such as "</tool>" and "</answer>", beside the end-of-turn token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettings(Budgets):
    """Actions of the policy, and their limits."""

    interface: Literal["natural", "code"]
    """natural: a call or an answer a turn, between tags; code: a small program a turn, over the same operators."""
    perturbations: Perturbations
    faults: Faults | None

    pool: Annotated[str | tuple[str, ...], BeforeValidator(_pool)]
    """Operator names, or the name of a pool."""
    style: Literal["compact", "full"]
    """full: instructions and results for a model that reads them; compact: few tokens, for one that learnt the form."""
    observation_chars: Count
    """Longer observations are cut in the middle."""
    search: RetrievalSettings
    backend: BackendSettings
    """The model behind the operators."""

    def __post_init__(self) -> None:
        if self.max_turn_tokens > self.max_response_tokens:
            raise ValueError("environment.max_turn_tokens exceeds max_response_tokens")
