"""Grammar interface: how a turn is spelled, read and recovered; and the elements that a reading holds."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from harness.types import ParseFailure

MAX_TAGS = 8192
"""Tags read in one turn; further ones are text. A well-formed turn has 4, and the paper's response limit of 8192 tokens
has no room for more than this, so only text that no policy can have sampled is affected."""


class Kind(StrEnum):
    """Roles of elements, whatever the grammar's spelling."""

    THINK = "think"
    TOOL = "tool"
    ANSWER = "answer"
    CODE = "code"
    INFO = "info"


Tag = tuple[Kind, bool, int, int]
"""A tag: kind, whether it opens, start and end in the text."""


class Element(NamedTuple):
    """A top-level element [start, end) of a turn, tags included; its content is [inner_start, inner_end).

    An element that is never closed ends where the next top-level element begins, or at the end of the text.
    `content` is the text inside, decoded if the grammar has escapes. `operator` is the operator's name where the
    grammar keeps it apart from the input; None where the content reads `Name: input`.
    """

    kind: Kind
    start: int
    inner_start: int
    inner_end: int
    end: int
    closed: bool
    content: str
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """Strict reading of a turn: top-level elements in order, each failure with its first offset, and the last answer.

    `answer` is the content of the last complete answer element that no element of another kind encloses (an answer
    inside an answer counts); None if there is none.
    """

    elements: list[Element]
    faults: dict[ParseFailure, int]
    answer: str | None
    unopened: list[Tag] = field(default_factory=list)  # closing tags without an opening one
    crossed: list[Tag] = field(default_factory=list)  # opening tags left open inside an element that closed


class Grammar(Protocol):
    """Spelling of a turn: tags in angle or square brackets, Markdown headings, JSON."""

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> frozenset[Kind]:
        """Element kinds that are actions."""

    def read(self, text: str) -> Reading:
        """Strict reading, linear in the text. Never raises."""

    def recover(self, text: str, reading: Reading, operators: Collection[str]) -> list[Element]:
        """Best-effort elements of a malformed turn. For measurement and segmentation, never for execution or reward."""

    def neutralise(self, text: str) -> str:
        """Text of equal length without any tag of this grammar."""

    def wrap_info(self, text: str) -> str:
        """`text` as the environment's observation."""

    def element(self, kind: Kind, content: str, operator: str = "") -> str:
        """One element; a tool element calls `operator` with `content`."""

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        """A turn of one thought and one action of `kind`."""

    def forms(self) -> list[str]:
        """The permitted forms of a turn, one per action, as a prompt shows them."""

    def rule(self) -> str:
        """The forms as the end of a warning's sentence, "Every turn must be …"."""


_HINTS = {Kind.TOOL: "input", Kind.ANSWER: "final answer", Kind.CODE: "your Python code"}
_THOUGHT = "your reasoning"


def forms_of(grammar: Grammar) -> list[str]:
    """The default of `Grammar.forms`: one rendered turn per action."""
    hints = _HINTS | {Kind.ANSWER: "your final answer"}
    return [grammar.render(_THOUGHT, k, hint, "OperatorName") for k, hint in hints.items() if k in grammar.actions]


def short_forms(grammar: Grammar) -> str:
    """The permitted forms in few tokens."""
    hints = {Kind.TOOL: "input", Kind.ANSWER: "…", Kind.CODE: "…"}
    return " or ".join(grammar.render("…", k, hint, "Name") for k, hint in hints.items() if k in grammar.actions)


def rule_of(grammar: Grammar) -> str:
    """The default of `Grammar.rule`, for turns of a think element and then an action element."""
    actions = [grammar.element(k, hint, "OperatorName") for k, hint in _HINTS.items() if k in grammar.actions]
    choice = f"exactly one of {' or '.join(actions)}" if len(actions) > 1 else actions[0]
    return f"{grammar.element(Kind.THINK, _THOUGHT)} followed by {choice}"
