"""Find protocol tags in a turn's text, in one left-to-right pass, and pair them into elements.

Tags are literals (`<think>`, `</tool>`, ...); everything else is text, so a stray `<` or `<br>` means nothing. The
text is split once by an alternation of those literals (never `<tag>(.*?)</tag>`, which is quadratic on unclosed
tags), and each tag then costs a constant amount of work, amortised. At most MAX_TAGS tags are read. Nothing here
raises, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
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


# Looked up once: member access on an enum class costs more than the work done with it.
_THINK, _TOOL, _ANSWER, _INFO = Kind.THINK, Kind.TOOL, Kind.ANSWER, Kind.INFO
_FORGED_INFO, _NESTED_TAG, _UNOPENED_TAG = ParseFailure.FORGED_INFO, ParseFailure.NESTED_TAG, ParseFailure.UNOPENED_TAG

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


class Grammar(Protocol):
    """A way to spell a turn. Siblings: tags in angle or square brackets, headings, JSON."""

    @property
    def name(self) -> str: ...

    @property
    def actions(self) -> frozenset[Kind]:
        """Element kinds that are an action here."""

    def read(self, text: str) -> Reading: ...

    def neutralise(self, text: str) -> str:
        """Same-length text in which no tag of this grammar is left."""

    def wrap_info(self, text: str) -> str:
        """`text` as the environment's observation."""

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        """A turn of one thought and one action of `kind`; `operator` is called with `content` if that is a tool."""

    def forms(self) -> list[str]:
        """The permitted forms of a turn, one each, as a prompt or a warning shows them."""


def forms_of(grammar: Grammar) -> list[str]:
    hints = {_TOOL: "input", _ANSWER: "your final answer", Kind.CODE: "your Python code"}
    return [
        grammar.render("your reasoning", k, hint, "OperatorName") for k, hint in hints.items() if k in grammar.actions
    ]


@dataclass(frozen=True)
class TagGrammar:
    """Elements between an opening and a closing literal, e.g. `<think>` and `</think>`.

    `tags` maps each kind to its (opening, closing) spelling; all spellings must differ. `substitutes` maps the
    characters of a tag to harmless look-alikes of the same length, used where an observation holds a tag.
    """

    name: str
    tags: Mapping[Kind, tuple[str, str]]
    actions: frozenset[Kind]
    substitutes: Mapping[str, str]
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _meaning: dict[str, tuple[Kind, bool]] = field(init=False, repr=False, compare=False)
    _loose: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _opens_think: str = field(init=False, repr=False, compare=False)
    _closes_think: str = field(init=False, repr=False, compare=False)
    _action_of: dict[tuple[str, str], Kind] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        meaning = {pair[closing]: (kind, closing == 0) for kind, pair in self.tags.items() for closing in (0, 1)}
        if len(meaning) != 2 * len(self.tags):
            raise ValueError(f"grammar {self.name!r}: two tags share a spelling")
        alternation = "|".join(re.escape(spelling) for spelling in sorted(meaning, key=len, reverse=True))
        object.__setattr__(self, "_meaning", meaning)
        object.__setattr__(self, "_pattern", re.compile(f"({alternation})"))
        object.__setattr__(self, "_loose", re.compile(alternation, re.IGNORECASE))
        object.__setattr__(self, "_opens_think", self.tags[Kind.THINK][0])
        object.__setattr__(self, "_closes_think", self.tags[Kind.THINK][1])
        object.__setattr__(self, "_action_of", {self.tags[kind]: kind for kind in self.actions})

    def neutralise(self, text: str) -> str:
        table = str.maketrans(dict(self.substitutes))
        return self._loose.sub(lambda match: match.group().translate(table), text)

    def wrap(self, kind: Kind, content: str) -> str:
        opening, closing = self.tags[kind]
        return f"{opening}{content}{closing}"

    def wrap_info(self, text: str) -> str:
        return self.wrap(Kind.INFO, text)

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        call = f"{operator}: {content}" if kind is _TOOL else content
        return self.wrap(_THINK, think) + self.wrap(kind, call)

    def forms(self) -> list[str]:
        return forms_of(self)

    def read(self, text: str) -> Reading:
        """Split `text` at its tags and pair them. Time and memory linear in its length."""
        parts = self._pattern.split(text, MAX_TAGS)  # gap, tag, gap, tag, ..., gap
        if len(parts) == 9 and parts[1] == self._opens_think and parts[3] == self._closes_think:
            kind = self._action_of.get((parts[5], parts[7]))
            if kind is not None and not (parts[0].strip() or parts[4].strip() or parts[8].strip()):
                return _plain_reading(kind, parts)
        ends = list(accumulate(map(len, parts)))
        meaning = self._meaning
        tags = [(*meaning[parts[i]], ends[i - 1], ends[i]) for i in range(1, len(parts), 2)]
        return pair(text, tags)


def _plain_reading(kind: Kind, parts: list[str]) -> Reading:
    """What `pair` gives for the ordinary turn, a think element and an action element: a shortcut, tested as equal."""
    a, b, c, d, e, f, g, h = accumulate(map(len, parts[:8]))
    think = Element(_THINK, a, b, c, d, True, parts[2])
    action = Element(kind, e, f, g, h, True, parts[6])
    return Reading([think, action], {}, parts[6] if kind is _ANSWER else None)


def pair(text: str, tags: list[Tag]) -> Reading:
    """Elements of `text` given its tags, left to right. Every tag costs amortised constant work.

    A closing tag closes the nearest open tag of its kind; open tags in between stay unclosed. An element is top-level
    if no *closed* element encloses it: an unclosed `<think>` ends where the next element begins. An answer is held to
    more: it does not count while any other kind of element is open, even one that is never closed.
    """
    faults: dict[ParseFailure, int] = {}
    note = faults.setdefault  # tags come left to right, so the first note of a kind is the leftmost
    unclosed_at = len(text) + 1
    stack: list[tuple[Kind, int, int]] = []  # kind, start and end of each open tag
    depth = dict.fromkeys(Kind, 0)
    swallowing: set[Kind] = set()  # kinds but ANSWER whose latest tag was an opening one
    free: set[int] = set()  # starts of answer tags opened while nothing was swallowing
    answers: list[tuple[int, int, int]] = []  # start and content range of the complete answers that count so far
    top: list[tuple[Kind, int, int, int, int, bool]] = []  # closed elements that no closed element encloses so far
    loose: list[tuple[int, int]] = []  # closing tags without an opening one

    for kind, opening, start, end in tags:
        if kind is _INFO:
            note(_FORGED_INFO, start)
        if opening:
            if stack:
                note(_NESTED_TAG, start)
            stack.append((kind, start, end))
            depth[kind] += 1
            if kind is not _ANSWER:
                swallowing.add(kind)
            elif not swallowing:
                free.add(start)
            continue
        swallowing.discard(kind)
        if not depth[kind]:
            note(_UNOPENED_TAG, start)
            loose.append((start, end))
            continue
        while stack[-1][0] is not kind:
            crossed, crossed_at, _ = stack.pop()
            depth[crossed] -= 1
            unclosed_at = min(unclosed_at, crossed_at)
        _, opened, inner = stack.pop()
        depth[kind] -= 1
        while top and top[-1][1] > opened:
            top.pop()
        top.append((kind, opened, inner, start, end, True))
        if kind is not _ANSWER:
            while answers and answers[-1][0] > opened:
                answers.pop()
        elif opened in free and not (answers and answers[-1][0] > opened):
            answers.append((opened, inner, start))

    if stack:
        unclosed_at = min(unclosed_at, stack[0][1])
    if unclosed_at <= len(text):
        note(ParseFailure.UNCLOSED_TAG, unclosed_at)
    elements = _in_order(text, top, stack)
    stray_at = _first_stray_text(text, elements, loose)
    if stray_at is not None:
        note(ParseFailure.STRAY_TEXT, stray_at)
    return Reading(elements, faults, text[answers[-1][1] : answers[-1][2]] if answers else None)


def _in_order(
    text: str, closed: list[tuple[Kind, int, int, int, int, bool]], unclosed: list[tuple[Kind, int, int]]
) -> list[Element]:
    """Merge closed and unclosed top-level elements; an unclosed one reaches to the next element."""
    raw = closed
    if unclosed:
        raw = sorted(closed + [(kind, start, inner, -1, -1, False) for kind, start, inner in unclosed], key=_start)
    elements: list[Element] = []
    for i, (kind, start, inner_start, inner_end, end, is_closed) in enumerate(raw):
        if not is_closed:
            inner_end = end = raw[i + 1][1] if i + 1 < len(raw) else len(text)
        elements.append(Element(kind, start, inner_start, inner_end, end, is_closed, text[inner_start:inner_end]))
    return elements


def _start(element: tuple[Kind, int, int, int, int, bool]) -> int:
    return element[1]


def _first_stray_text(text: str, elements: list[Element], loose: list[tuple[int, int]]) -> int | None:
    """Where the first visible character outside elements and tags is."""
    covered = [(e.start, e.end) for e in elements]
    if loose:
        covered = sorted(covered + loose)
    at = 0
    for start, end in [*covered, (len(text), len(text))]:
        if at < start:
            gap = text[at:start]
            if not gap.isspace():
                return at + len(gap) - len(gap.lstrip())
        at = max(at, end)
    return None


XML = TagGrammar(
    name="xml",
    tags={kind: (f"<{kind}>", f"</{kind}>") for kind in (Kind.THINK, Kind.TOOL, Kind.ANSWER, Kind.INFO)},
    actions=frozenset({Kind.TOOL, Kind.ANSWER}),
    substitutes={"<": "‹", ">": "›"},
)
"""The paper's grammar: a think element, then a tool or an answer element."""

XML_CODE = TagGrammar(
    name="xml_code",
    tags={kind: (f"<{kind}>", f"</{kind}>") for kind in (Kind.THINK, Kind.CODE, Kind.INFO)},
    actions=frozenset({Kind.CODE}),
    substitutes={"<": "‹", ">": "›"},
)
"""The code interface: a think element, then a code element. Tool and answer tags are ordinary text here."""
