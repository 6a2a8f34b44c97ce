"""Alternative grammars, Markdown headings and JSON, for studies of robustness to the protocol.

Every grammar returns a `Reading` with the same failures, except those that cannot occur in it (a heading is never
unclosed). All are linear in the text and never raise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice

from harness.protocol.grammar import MAX_TAGS, Element, Grammar, Kind, Reading, forms_of
from harness.protocol.tags import BRACKETS, XML
from harness.types import ParseFailure


@dataclass(frozen=True)
class HeadingGrammar:
    """Markdown: `### Think`, `### Tool`, `### Answer`, each on a line of its own; a section ends at the next heading.

    Sections cannot be unclosed or nested: an answer heading inside a thought ends the thought.
    """

    name: str = "markdown"
    actions: frozenset[Kind] = frozenset({Kind.TOOL, Kind.ANSWER})

    def read(self, text: str) -> Reading:
        headings = [(_HEADINGS[m.group(1)], m.start(), m.end()) for m in islice(_HEADING.finditer(text), MAX_TAGS)]
        ends = [start for _, start, _ in headings[1:]] + [len(text)]
        elements = [
            Element(kind, start, inner, end, end, True, text[inner:end])
            for (kind, start, inner), end in zip(headings, ends, strict=False)
        ]
        faults: dict[ParseFailure, int] = {}
        before = text[: headings[0][1]] if headings else text
        if before.strip():
            faults[ParseFailure.STRAY_TEXT] = len(before) - len(before.lstrip())
        forged = next((e.start for e in elements if e.kind is Kind.INFO), None)
        if forged is not None:
            faults[ParseFailure.FORGED_INFO] = forged
        return Reading(elements, faults, next((e.content for e in reversed(elements) if e.kind is Kind.ANSWER), None))

    def recover(self, text: str, reading: Reading, operators: Collection[str]) -> list[Element]:
        return reading.elements

    def neutralise(self, text: str) -> str:
        return _LOOSE_HEADING.sub(lambda match: match.group().replace("#", "＃"), text)

    def wrap_info(self, text: str) -> str:
        return f"### Info\n{text}"

    def element(self, kind: Kind, content: str, operator: str = "") -> str:
        return f"### {kind.title()}\n" + (f"{operator}: {content}" if kind is Kind.TOOL else content)

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        return f"{self.element(Kind.THINK, think)}\n{self.element(kind, content, operator)}"

    def forms(self) -> list[str]:
        return forms_of(self)

    def rule(self) -> str:
        return "of one of these forms:\n" + "\nor\n".join(self.forms())


_HEADINGS = {kind.title(): kind for kind in (Kind.THINK, Kind.TOOL, Kind.ANSWER, Kind.INFO)}
_HEADING = re.compile(r"^### (Think|Tool|Answer|Info)[ \t]*$", re.MULTILINE)
_LOOSE_HEADING = re.compile(r"^#{1,6}[ \t]*(?:think|tool|answer|info)\b", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class JsonGrammar:
    """One JSON object of strings: `{"think": …, "tool": …, "input": …}` or `{"think": …, "answer": …}`.

    Other text is read as far as possible: an unclosed string or object is UNCLOSED_TAG, an object or array as a value
    NESTED_TAG, an `info` key FORGED_INFO, anything else outside the form STRAY_TEXT. Line breaks inside strings are
    accepted, as models write them.
    """

    name: str = "json"
    actions: frozenset[Kind] = frozenset({Kind.TOOL, Kind.ANSWER})

    def read(self, text: str) -> Reading:
        reader = _JsonReader(text)
        reader.read()
        answer = next((e.content for e in reversed(reader.elements) if e.kind is Kind.ANSWER and e.closed), None)
        return Reading(reader.elements, reader.faults, answer)

    def recover(self, text: str, reading: Reading, operators: Collection[str]) -> list[Element]:
        return reading.elements

    def neutralise(self, text: str) -> str:
        return text  # an observation is a JSON string: its quotes are escaped, so it cannot forge a key

    def wrap_info(self, text: str) -> str:
        return json.dumps({"info": text}, ensure_ascii=False)

    def element(self, kind: Kind, content: str, operator: str = "") -> str:
        return json.dumps(_members(kind, content, operator), ensure_ascii=False)

    def render(self, think: str, kind: Kind, content: str, operator: str = "") -> str:
        return json.dumps({"think": think, **_members(kind, content, operator)}, ensure_ascii=False)

    def forms(self) -> list[str]:
        return forms_of(self)

    def rule(self) -> str:
        return "one JSON object, " + " or ".join(self.forms())


def _members(kind: Kind, content: str, operator: str) -> dict[str, str]:
    return {"tool": operator, "input": content} if kind is Kind.TOOL else {str(kind): content}


# A string runs to its closing quote or the end of the text: an unclosed one is still one token, so no quote is ever
# scanned twice. The possessive repeat (`*+`) keeps the engine from retrying shorter strings.
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]:,]|[^ \t\r\n"{}\[\]:,]+', re.DOTALL)
_JSON_KINDS = {"think": Kind.THINK, "tool": Kind.TOOL, "input": Kind.TOOL, "answer": Kind.ANSWER, "info": Kind.INFO}
_MAX_JSON_TOKENS = 4 * MAX_TAGS


class _JsonReader:
    """One pass over the tokens of a text, as `key : value ,` inside objects."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.elements: list[Element] = []
        self.faults: dict[ParseFailure, int] = {}
        self.tokens = [(m.group(), m.start()) for m in islice(_JSON_TOKEN.finditer(text), _MAX_JSON_TOKENS)]
        self.at = 0

    def peek(self, ahead: int = 0) -> tuple[str, int]:
        i = self.at + ahead
        return self.tokens[i] if i < len(self.tokens) else ("", len(self.text))

    def note(self, failure: ParseFailure, at: int) -> None:
        self.faults.setdefault(failure, at)

    def read(self) -> None:
        while self.at < len(self.tokens):
            token, start = self.peek()
            if token == "{":
                self.object()
                continue
            self.note(ParseFailure.UNOPENED_TAG if token == "}" else ParseFailure.STRAY_TEXT, start)
            self.at += 1

    def object(self) -> None:
        first = len(self.elements)
        parts: dict[str, tuple[str, int, int, bool]] = {}  # of one call: the tool and the input, in any order
        opened = self.peek()[1]
        self.at += 1
        comma_due = False
        while True:
            token, start = self.peek()
            if token in ("}", ""):
                break
            if token == ",":
                if not comma_due or self.peek(1)[0] == "}":
                    self.note(ParseFailure.STRAY_TEXT, start)
                comma_due = False
                self.at += 1
                continue
            if not (token.startswith('"') and self.peek(1)[0] == ":"):
                self.skip(start)
                continue
            if comma_due:
                self.note(ParseFailure.STRAY_TEXT, start)
            comma_due = True
            self.at += 2
            self.member(self.decode(token, start), start, parts)
        self.call(parts)
        end = self.peek()[1] + len(self.peek()[0])
        if not self.peek()[0]:
            self.note(ParseFailure.UNCLOSED_TAG, opened)
        self.at += 1
        mine = self.elements[first:]
        if mine:  # the braces belong to the outermost elements
            self.elements[first] = mine[0]._replace(start=opened)
            self.elements[-1] = self.elements[-1]._replace(end=end)

    def member(self, key: str, start: int, parts: dict[str, tuple[str, int, int, bool]]) -> None:
        """Read the value of a member whose key and colon are read already."""
        token, value_start = self.peek()
        kind = _JSON_KINDS.get(key)
        if kind is None:
            self.note(ParseFailure.STRAY_TEXT, start)
        if kind is Kind.INFO:
            self.note(ParseFailure.FORGED_INFO, start)
        if not token.startswith('"'):
            if token not in ("}", ",", ""):
                self.skip(value_start)
            elif kind is not None:
                self.note(ParseFailure.STRAY_TEXT, value_start)
            return
        self.at += 1
        end, closed = value_start + len(token), _is_closed(token)
        value = self.decode(token, value_start)
        if kind is Kind.TOOL:
            if key in parts:
                self.call(parts)
            parts[key] = (value, start, end, closed)
        elif kind is not None:
            self.call(parts)
            self.elements.append(Element(kind, start, value_start + 1, end - closed, end, closed, value))

    def call(self, parts: dict[str, tuple[str, int, int, bool]]) -> None:
        """Add the element of the tool and input read so far."""
        if not parts:
            return
        found = parts.values()
        start, end = min(p[1] for p in found), max(p[2] for p in found)
        name, argument = parts.get("tool"), parts.get("input")
        content, closed = (argument[0] if argument else ""), all(p[3] for p in found)
        self.elements.append(
            Element(Kind.TOOL, start, start, end, end, closed, content, name[0].strip() if name else "")
        )
        parts.clear()

    def skip(self, start: int) -> None:
        """Skip one token, or a nested object or array whole."""
        token = self.peek()[0]
        nested = token in ("{", "[")
        self.note(ParseFailure.NESTED_TAG if nested else ParseFailure.STRAY_TEXT, start)
        if token.startswith('"') and not _is_closed(token):
            self.note(ParseFailure.UNCLOSED_TAG, start)
        depth = 0
        while self.at < len(self.tokens):
            token = self.peek()[0]
            self.at += 1
            depth += (token in ("{", "[")) - (token in ("}", "]"))
            if depth <= 0:
                return
        self.note(ParseFailure.UNCLOSED_TAG, start)

    def decode(self, token: str, start: int) -> str:
        """The string that a token denotes; its raw text if it is unclosed or has invalid escapes."""
        if not _is_closed(token):
            self.note(ParseFailure.UNCLOSED_TAG, start)
            return token[1:]
        try:
            decoded = json.loads(token, strict=False)
        except ValueError:
            self.note(ParseFailure.STRAY_TEXT, start)
            return token[1:-1]
        return str(decoded).encode("utf-8", "replace").decode()  # an escaped lone surrogate is no text


def _is_closed(token: str) -> bool:
    if len(token) < 2 or not token.endswith('"'):
        return False
    backslashes = len(token) - 1 - len(token[:-1].rstrip("\\"))
    return backslashes % 2 == 0


JSON = JsonGrammar()
MARKDOWN = HeadingGrammar()

GRAMMARS: Mapping[str, Grammar] = {grammar.name: grammar for grammar in (XML, BRACKETS, MARKDOWN, JSON)}
"""Spellings of the natural-language interface, by name."""
