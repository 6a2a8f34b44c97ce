"""YAML read as a tree in which every key and value knows where it was written.

Invariant: a `Node` tree is plain, finite and small. Duplicate keys, cycles, alias bombs, deep nesting and
non-string keys are refused while reading, each at its own line and column, and reading continues after them so that
all problems of a file come out together. Scalars follow the YAML 1.2 core schema (`1e-6` is a number, `no` is a
string), unlike PyYAML's default of YAML 1.1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.config.name_checks import name_fault, text_fault
from harness.types.redact import printable, redact, redact_settings

MAX_BYTES = 1_000_000
MAX_NODES = 20_000  # after aliases are expanded
MAX_DEPTH = 30
_SHOWN_CHARS, _SHOWN_BEFORE = 160, 120
"""Of the line at fault in a message: in all, and before the caret."""


@dataclass(frozen=True, slots=True)
class Source:
    """A text that configuration was read from; `name` is what a message calls it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a source; line and column count from 1."""

    source: Source
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. `value` is a scalar, a list of nodes, or a dict of name -> node.

    `key_at` is the place of the key that introduced the node, None for list items and the root.
    """

    value: Any
    at: Location
    key_at: Location | None = None

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and perhaps how to fix it."""

    at: Location
    message: str
    hint: str | None = None

    def render(self) -> str:
        """`file:line:column: message`, then the line itself with a caret under the column."""
        lines = self.at.source.text.splitlines()
        head = f"{self.at}: {redact(self.message)}"
        if 0 < self.at.line <= len(lines):
            text = redact_settings(lines[self.at.line - 1].expandtabs(1))
            gutter, start = f"{self.at.line:>5} | ", max(0, self.at.column - 1 - _SHOWN_BEFORE)
            shown = text[start : start + _SHOWN_CHARS]
            head += f"\n{gutter}{shown}\n{' ' * (len(gutter) - 2)}| {' ' * (self.at.column - 1 - start)}^"
        return printable(head + (f"\n        {redact(self.hint)}" if self.hint else ""))


class ConfigError(Exception):
    """Every problem found in a configuration, in the order of the files' lines."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        unique = dict.fromkeys(problems)
        order = sorted(unique, key=lambda p: (p.at.source.name, p.at.line, p.at.column))
        self.problems = tuple(order)
        super().__init__(self.render())

    def render(self) -> str:
        count = len(self.problems)
        return "\n".join(p.render() for p in self.problems) + f"\n{count} problem{'s' if count != 1 else ''}"


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of YAML 1.2's core schema."""

    yaml_implicit_resolvers = {}  # type: ignore[var-annotated]  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+0123456789."),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
):
    for _char in _first:
        _key = "" if _char == "\0" else _char
        _CoreLoader.yaml_implicit_resolvers.setdefault(_key, []).append(
            (f"tag:yaml.org,2002:{_tag}", re.compile(_pattern))
        )

_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:str": str,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "tag:yaml.org,2002:null": lambda text: None,
}

_COLLECTIONS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})


class _Reader:
    """Turns PyYAML's nodes into ours, gathering problems instead of stopping at the first."""

    def __init__(self, source: Source, column_offset: int) -> None:
        self.source, self.offset = source, column_offset
        self.problems: list[Problem] = []  # that leave a tree with a hole where each of them is
        self.fatal: list[Problem] = []  # that leave no tree worth a look
        self.count = 0

    def at(self, mark: Any) -> Location:
        if mark is None:
            return Location(self.source, 1, 1)
        return Location(self.source, mark.line + 1, mark.column + 1 + (self.offset if mark.line == 0 else 0))

    def complain(self, mark: Any, message: str) -> None:
        self.problems.append(Problem(self.at(mark), message))

    def convert(self, node: yaml.Node, above: tuple[int, ...] = ()) -> Node:
        at = self.at(node.start_mark)
        self.count += 1
        if self.count == MAX_NODES + 1:
            over = f"more than {MAX_NODES} values after its aliases are expanded"
            self.fatal.append(Problem(at, over))
        if self.count > MAX_NODES:
            return Node(None, at)
        if id(node) in above:
            self.fatal.append(Problem(at, "an alias refers to a value that contains it"))
            return Node(None, at)
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _COLLECTIONS:
            self.complain(node.start_mark, f"the tag {node.tag!r} is not allowed here")
            return Node(None, at)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, (*above, id(node))), at)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.convert(child, (*above, id(node))) for child in node.value], at)
        build = _SCALARS.get(node.tag)
        if build is None:
            self.complain(node.start_mark, f"the tag {node.tag!r} is not allowed here")
            return Node(None, at)
        try:
            value = build(node.value)
        except ValueError:
            self.complain(node.start_mark, f"cannot read {node.value[:40]!r} as {node.tag.rsplit(':')[-1]}")
            return Node(None, at)
        if isinstance(value, str) and (fault := text_fault(value)):
            self.complain(node.start_mark, f"this text {fault}")
            return Node(None, at)
        return Node(value, at)

    def _mapping(self, node: yaml.MappingNode, above: tuple[int, ...]) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self.complain(key.start_mark, "a key must be a non-empty name")
                continue
            if key.value == "<<" and not key.style:
                self.complain(key.start_mark, "merge keys (<<) are not supported: write the keys out")
                continue
            if fault := name_fault(key.value):  # its value stays, so that its absence is no further problem
                self.complain(key.start_mark, f"a key {fault}")
                key.value = "".join(c if c.isprintable() else "?" for c in key.value)
            child = replace(self.convert(value, above), key_at=self.at(key.start_mark))
            if key.value in entries:
                first = entries[key.value].key_at
                problem = Problem(self.at(key.start_mark), f"duplicate key {key.value!r}", f"first given at {first}")
                self.problems.append(problem)
                continue
            entries[key.value] = child
        return entries


def read_text(
    source: Source, *, column_offset: int = 0, text: str | None = None, problems: list[Problem] | None = None
) -> Node:
    """Parse YAML. `text` defaults to the source's; with an offset it is a part of the source's first line.

    Raises ConfigError with everything that is wrong. With `problems`, what leaves the rest readable is listed there,
    for the caller to raise with what else it finds: of a key given twice the first is read, a value that cannot be read
    is None.
    """
    content = source.text if text is None else text
    reader = _Reader(source, column_offset)
    try:
        _check_depth(content, reader)
        loader = _CoreLoader(content)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError([Problem(reader.at(mark), f"not valid YAML: {error.problem or error.context}")]) from None
    except yaml.YAMLError as error:
        raise ConfigError([_unreadable_character(error, content, source)]) from None
    tree = Node({}, reader.at(None)) if root is None else reader.convert(root)
    if reader.fatal or (reader.problems and problems is None):
        raise ConfigError(reader.fatal + reader.problems)
    if problems is not None:
        problems += reader.problems
    return tree


def read_file(path: Path, name: str | None = None, problems: list[Problem] | None = None) -> Node:
    """Parse a YAML file, see `read_text`. Raises ConfigError, also when the file cannot be read."""
    shown = name or str(path)
    try:
        with path.open("rb") as handle:
            raw = handle.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        text = raw.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([Problem(Location(Source(shown, ""), 1, 1), f"cannot read this file: {reason}")]) from None
    return read_text(Source(shown, text), problems=problems)


def _check_depth(text: str, reader: _Reader) -> None:
    """PyYAML composes recursively, so depth is checked on its (iterative) events first."""
    depth = 0
    for event in yaml.parse(text, Loader=_CoreLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError([Problem(reader.at(event.start_mark), f"nested deeper than {MAX_DEPTH} levels")])
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _unreadable_character(error: yaml.YAMLError, text: str, source: Source) -> Problem:
    position = getattr(error, "position", 0)
    before = text[:position]
    line = before.count("\n") + 1
    at = Location(source, line, position - (before.rfind("\n") + 1) + 1)
    return Problem(at, "a character that YAML does not permit")
