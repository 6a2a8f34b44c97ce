"""Pure operations on located trees: dotted keys, layers, look-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.config.yaml_source import ConfigError, Location, Node, Problem, Source, read_text


def plain(node: Node) -> Any:
    """The tree without its places: dict, list and scalars."""
    if isinstance(node.value, dict):
        return {name: plain(child) for name, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def nest(path: Sequence[str], leaf: Node) -> Node:
    """`a.b` and a leaf make {a: {b: leaf}}; every level takes the leaf's place."""
    node = leaf
    for part in reversed(path):
        node = Node({part: node}, node.at, leaf.key_at)
    return node


KINDS = frozenset({"backend", "engine", "retriever"})
"""Sections whose keys depend on their `kind` (a test holds them to the model's unions)."""


def merge(base: Node, over: Node) -> Node:
    """`over` wins, in value and place; mappings merge key by key, anything else is replaced whole.

    So is a section that becomes of another kind: the keys of the old kind would mean nothing to it.
    """
    if not (base.is_mapping and over.is_mapping):
        return over
    merged = dict(base.value)
    for name, child in over.value.items():
        kept = name in merged and not (name in KINDS and _kind(child) not in (None, _kind(merged[name])))
        merged[name] = merge(merged[name], child) if kept else child
    return replace(over, value=merged)


def _kind(node: Node) -> Any:
    kind = node.value.get("kind") if node.is_mapping else None
    return kind.value if isinstance(kind, Node) else None


def undot(node: Node, problems: list[Problem]) -> Node:
    """Expand dotted keys of nested mappings; a value given twice by different spellings is a problem."""
    if not node.is_mapping:
        return node
    result = Node({}, node.at, node.key_at)
    for name, child in node.value.items():
        parts = name.split(".")
        if not all(parts):
            problems.append(Problem(child.key_at or child.at, f"malformed key {name!r}"))
            continue
        addition = nest(parts, undot(child, problems))
        _find_conflicts(result, addition, problems, ())
        result = merge(result, addition)
    return result


def _find_conflicts(base: Node, over: Node, problems: list[Problem], path: tuple[str, ...]) -> None:
    for name, child in over.value.items():
        known = base.value.get(name)
        if known is None:
            continue
        if known.is_mapping and child.is_mapping:
            _find_conflicts(known, child, problems, (*path, name))
        else:
            dotted = ".".join((*path, name))
            problems.append(
                Problem(child.key_at or child.at, f"duplicate key {dotted!r}", f"first given at {known.key_at}")
            )


def locate(root: Node, path: Sequence[str | int], *, key: bool = False) -> Location:
    """The place of the deepest part of `path` that exists; of its key rather than its value when `key`."""
    node = root
    for part in path:
        if isinstance(node.value, dict):
            node = node.value.get(part, node)
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        # anything else is a part that a validator put in, such as the tag of a union
    return (node.key_at or node.at) if key else node.at


def find(root: Node, dotted: str) -> Node | None:
    """The node at a dotted path of mappings, or None."""
    node = root
    for part in dotted.split("."):
        if not node.is_mapping or part not in node.value:
            return None
        node = node.value[part]
    return node


def within(node: Node) -> Iterator[Node]:
    """The node and everything in it, from the top."""
    yield node
    if isinstance(node.value, dict | list):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from within(child)


def parse_overrides(overrides: Sequence[str], problems: list[Problem] | None = None) -> list[tuple[str, Node]]:
    """`a.b=value` arguments; the value is YAML. What cannot be read is left out and listed in `problems`, or raised as
    ConfigError where there is no such list."""
    parsed: list[tuple[str, Node]] = []
    wrong: list[Problem] = []
    for text in overrides:
        source = Source("command line", text)
        name, equals, value = text.partition("=")
        start = Location(source, 1, 1)
        if not equals or not all(name.split(".")):
            wrong.append(Problem(start, f"cannot read {text!r}", "an override is written key=value, as in steps=40"))
            continue
        try:
            node = read_text(source, column_offset=len(name) + 1, text=value)
        except ConfigError as error:
            wrong += error.problems
            continue
        if not value.strip():
            node = Node(None, Location(source, 1, len(name) + 2))
        parsed.append((name, replace(node, key_at=start)))
    if wrong and problems is None:
        raise ConfigError(wrong)
    if problems is not None:
        problems += wrong
    return parsed
