"""Limits on a program of the code interface, their meter, and the exceptions that end a program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class Answered(Exception):
    """The program's end by a call of `answer(...)`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class CodeError(Exception):
    """A program's error, shown to the policy. `kind` is a Python exception name where Python has one."""

    def __init__(self, kind: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one turn's program. Every value a program can make is bounded by them, and so is its time.

    `steps` is a budget of work: one for each node evaluated, plus one for every 16 characters or every item that an
    operation reads or makes, and one for every 64 comparisons of characters where a method may need as many as two
    lengths multiplied. It bounds time and memory alike and, unlike a clock, does so deterministically;
    `seconds` is a backstop (operators' time not counted).
    """

    source_chars: int = 8_000
    source_brackets: int = 30  # open at one place
    source_tokens: int = 500  # of one logical line
    tree_depth: int = 60
    steps: int = 100_000
    text_chars: int = 50_000
    items: int = 5_000
    int_bits: int = 256
    value_depth: int = 20
    output_chars: int = 8_000
    kept_chars: int = 1_000_000  # of all variables between two turns; an item of a list or dict counts as 16
    seconds: float = 5.0


class Meter:
    """Meter of one program's work. `spend` raises CodeError when the budget is used up or time is out."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.left = limits.steps
        self.clock = clock
        self.deadline = clock() + limits.seconds
        self._look_at_clock_below = self.left

    def spend(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise CodeError("StepLimit", f"the program took more than {self.limits.steps} steps")
        if self.left < self._look_at_clock_below:
            self._look_at_clock_below = self.left - 256
            if self.clock() > self.deadline:
                raise CodeError("TimeLimit", f"the program took longer than {self.limits.seconds:g} seconds")

    def text(self, length: int) -> None:
        """Pay for a text of `length` characters that is about to be read or made."""
        if length > self.limits.text_chars:
            raise CodeError("SizeLimit", f"a text may have at most {self.limits.text_chars} characters")
        self.spend(1 + length // 16)

    def pairs(self, length: int, other: int) -> None:
        """Pay for a search that may compare each of `length` characters with each of `other`."""
        self.spend(length * other // 64)

    def items(self, length: int) -> None:
        """Pay for a list, tuple or dict of `length` items that is about to be read or made."""
        if length > self.limits.items:
            raise CodeError("SizeLimit", f"a list may have at most {self.limits.items} items")
        self.spend(1 + length)
