"""Action interface: the form in which the policy acts, and the execution of its turns.

Two implementations: `natural` (one operator call or answer a turn), `code` (a small program over the same operators).
Pure: operators are reached through a coroutine the caller gives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.protocol import Grammar
from harness.types import OperatorResult, ParsedTurn

Call = Callable[[str, str], Awaitable[OperatorResult]]
"""Runs an operator: `await call(name, input_text)`. Must not raise for a failing operator."""


class Signature(Protocol):
    """The part of an operator's specification that an interface needs (see `harness.operators.OperatorSpec`).

    `tags` maps each inner tag of the input to the least number of its occurrences; with none, the input is plain text.
    """

    @property
    def name(self) -> str: ...

    @property
    def summary(self) -> str: ...

    @property
    def input_format(self) -> str: ...

    @property
    def example(self) -> str:
        """An example call, `Name: input`."""

    @property
    def tags(self) -> Mapping[str, int]: ...

    @property
    def handles(self) -> Mapping[str, Any]:
        """Inner tags that the compact style may leave out."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Outcome of a turn.

    `parsed` is the turn, with what only execution reveals: a code turn's answer, OVER_BUDGET. `result` is the
    observation, its costs the sum over `calls`; None if the turn answered. `calls` are the operator calls made, in
    order: each counts against the call budget.
    """

    parsed: ParsedTurn
    result: OperatorResult | None
    calls: tuple[OperatorResult, ...] = ()


class Session(Protocol):
    """One episode's side of an interface; holds what persists between turns."""

    async def execute(self, parsed: ParsedTurn, call: Call, calls_left: int) -> Execution:
        """Execute `parsed.action`, with at most `calls_left` operator calls.

        Raises ValueError if the turn has no action. The policy's text raises nothing else; exceptions
        of `call` propagate.
        """


class ActionInterface(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def compact(self) -> bool:
        """Whether operators have their short call forms, and warnings are of few tokens."""

    def parse(self, text: str, operators: Collection[str], *, truncated: bool = False) -> ParsedTurn:
        """Parse a turn; as `harness.protocol.parse_turn`."""

    @property
    def grammar(self) -> Grammar:
        """The syntax of a turn."""

    def usage(self, operator: Signature) -> str:
        """The form of a call, in few tokens."""

    def describe(self, operator: Signature) -> str:
        """One operator's documentation for the prompt, in a line."""

    def start(self, operators: Sequence[Signature]) -> Session:
        """A new episode."""

    def observation(self, text: str, *, trusted: bool = False) -> str:
        """`text` as the policy reads it; as `harness.protocol.render_observation`."""

    def warning(self, parsed: ParsedTurn) -> str:
        """The text that answers a turn without an action: the failures, and the permitted forms."""

    def turn(self, think: str, call: str) -> str:
        """A scripted turn that makes the call `Name: input` and reads its result."""

    def answer(self, think: str, text: str) -> str:
        """A scripted turn that answers."""
