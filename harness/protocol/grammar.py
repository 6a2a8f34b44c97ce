"""What a grammar sees in a turn's text, and what a grammar is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from harness.types import ParseFailure

MAX_TAGS = 8192
"""Tags read in one turn; what follows is text. A well-formed turn has 4, and the paper's response limit of 8192 tokens
leaves no room for more than this, so only text that no policy can have sampled is affected."""


class Kind(StrEnum):
    """What an element is for. Spellings belong to a grammar."""

    THINK = "think"
    TOOL = "tool"
    ANSWER = "answer"
    CODE = "code"
    INFO = "info"


Tag = tuple[Kind, bool, int, int]
"""Kind, whether it opens, start and end of a tag in the text."""


class Element(NamedTuple):
    """A top-level element [start, end) of a turn, tags included; its content is [inner_start, inner_end).

    An element that is never closed ends where the next top-level element begins, or at the end of the text.
    `content` is the text inside, decoded if the grammar has escapes. `operator` is the name of the operator called,
    where the grammar keeps it apart from the input; None where the content reads `Name: input`.
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
    """What a grammar saw: top-level elements in order, where each kind of defect first occurs, and the last answer.

    `answer` is the content of the last complete answer element that no other kind of element encloses (nested or
    not: an answer inside an answer is still an answer), None if there is none.
    """

    elements: list[Element]
    faults: dict[ParseFailure, int]
    answer: str | None
    unopened: list[Tag] = field(default_factory=list)  # closing tags without an opening one
    crossed: list[Tag] = field(default_factory=list)  # opening tags left open inside an element that closed


class Grammar(Protocol):
    """A way to spell a turn. Siblings: tags in angle or square brackets, headings, JSON."""

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> frozenset[Kind]:
        """Element kinds that are an action here."""

    def read(self, text: str) -> Reading: ...

    def recover(self, text: str, reading: Reading, operators: Collection[str]) -> list[Element]:
        """Where the elements of a malformed turn are, as best one can tell. For measurement, never for execution."""

    def neutralise(self, text: str) -> str:
        """Same-length text in which no tag of this grammar is left."""

    def wrap_info(self, text: str) -> str:
        """`text` as the environment's observation."""

    def element(self, kind: Kind, content: str, operator: str = "") -> str:
        """One element by itself; `operator` is called with `content` if it is a tool."""

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        """A turn of one thought and one action of `kind`."""

    def forms(self) -> list[str]:
        """The permitted forms of a turn, one each, as a prompt shows them."""

    def rule(self) -> str:
        """The forms as half a sentence, as a warning names them: "Every turn must be …"."""


_HINTS = {Kind.TOOL: "input", Kind.ANSWER: "final answer", Kind.CODE: "your Python code"}
_THOUGHT = "your reasoning"


def forms_of(grammar: Grammar) -> list[str]:
    hints = _HINTS | {Kind.ANSWER: "your final answer"}
    return [grammar.render(_THOUGHT, k, hint, "OperatorName") for k, hint in hints.items() if k in grammar.actions]


def short_forms(grammar: Grammar) -> str:
    """The permitted forms in few tokens."""
    hints = {Kind.TOOL: "input", Kind.ANSWER: "…", Kind.CODE: "…"}
    return " or ".join(grammar.render("…", k, hint, "Name") for k, hint in hints.items() if k in grammar.actions)


def rule_of(grammar: Grammar) -> str:
    """The rule of a grammar whose turns are a think element and then an action element."""
    actions = [grammar.element(k, hint, "OperatorName") for k, hint in _HINTS.items() if k in grammar.actions]
    choice = f"exactly one of {' or '.join(actions)}" if len(actions) > 1 else actions[0]
    return f"{grammar.element(Kind.THINK, _THOUGHT)} followed by {choice}"
