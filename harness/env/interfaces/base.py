"""What an action interface is: how the policy says what to do, and how that is done.

Siblings: `natural` (one operator call or answer a turn) and `code` (a small program a turn, over the same operators).
Pure: operators are reached through a coroutine the caller gives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.protocol import Grammar
from harness.types import OperatorResult, ParsedTurn

Call = Callable[[str, str], Awaitable[OperatorResult]]
"""Runs an operator: `await call(name, input_text)`. Must not raise for a failing operator."""


class Signature(Protocol):
    """What an interface needs to know of an operator (`harness.operators.OperatorSpec` has it).

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


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a turn.

    `parsed` is the turn with what only execution shows: a code turn's answer, OVER_BUDGET. `result` is what the policy
    gets to read, its costs the sum over `calls`; None if the turn answered. `calls` are the operator calls made, in
    order: each counts against the call budget.
    """

    parsed: ParsedTurn
    result: OperatorResult | None
    calls: tuple[OperatorResult, ...] = ()


class Session(Protocol):
    """One episode's side of an interface; holds what persists between turns."""

    async def execute(self, parsed: ParsedTurn, call: Call, calls_left: int) -> Execution:
        """Do what `parsed.action` says, with at most `calls_left` operator calls.

        Raises ValueError if the turn has no action. Whatever the policy wrote, nothing else is raised; what `call`
        raises passes through.
        """


class ActionInterface(Protocol):
    @property
    def name(self) -> str: ...

    def parse(self, text: str, operators: Collection[str], *, truncated: bool = False) -> ParsedTurn:
        """Read a turn; as `harness.protocol.parse_turn`."""

    @property
    def grammar(self) -> Grammar:
        """How a turn is spelled."""

    def usage(self, operator: Signature) -> str:
        """How an operator is called, in few tokens."""

    def describe(self, operator: Signature) -> str:
        """For the prompt: one operator, in a line."""

    def start(self, operators: Sequence[Signature]) -> Session:
        """A new episode."""

    def observation(self, text: str, *, trusted: bool = False) -> str:
        """`text` as the policy reads it; as `harness.protocol.render_observation`."""

    def warning(self, parsed: ParsedTurn) -> str:
        """The text that answers a turn without an action: what was wrong, and the permitted forms."""

    def turn(self, think: str, call: str) -> str:
        """A scripted turn that makes the call `Name: input` and reads its result."""

    def answer(self, think: str, text: str) -> str:
        """A scripted turn that answers."""
