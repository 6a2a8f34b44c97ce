"""Names of settings: what a section holds, the full names of all keys, and what a misspelt one was meant to be."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Collection, Iterable
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

MOST_LISTED = 25
"""Known words that a hint lists in full where none is close."""


def did_you_mean(word: object, known: Iterable[str]) -> str | None:
    """A hint with the closest known word, or the list of them where it is short.

    A word that is the last part of a dotted or slashed name stands for the shortest such name: `em` for `eval/em`.
    """
    names = sorted(known)
    close = [n for n in names if n != word and n.endswith((f".{word}", f"/{word}"))]
    close = sorted(close, key=lambda n: (len(n), n)) or difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if 0 < len(names) <= MOST_LISTED else None


def hint_for_key(dotted: str, siblings: Collection[str], known: Collection[str]) -> str | None:
    """What an unknown key may have meant, as a name that works as it is written, or the keys of its section.

    `siblings` are the keys of its section, `known` the full names of all keys. A key without a section is looked for in
    every section.
    """
    section, _, last = dotted.rpartition(".")
    prefix = f"{section}." if section else ""
    ends: dict[str, list[str]] = {}
    for name in known:
        ends.setdefault(name.rpartition(".")[2], []).append(name)
    found = [] if section else [name for name in ends.get(last, []) if name != last]
    if not found:
        longer = [name for name in siblings if last and name.startswith(f"{last}_")]  # a word left out at the end
        found = [prefix + name for name in longer or difflib.get_close_matches(last, siblings, n=1, cutoff=0.6)]
    if not found and not section:
        close = difflib.get_close_matches(last, ends, n=1, cutoff=0.7)
        close = close or [end for end in ends if last in end.split("_")][:3]
        found = [name for end in close for name in ends[end]]
    if found:
        return f"did you mean {' or '.join(map(repr, found[:3]))}?"
    names = sorted(prefix + name for name in siblings)
    return f"known: {', '.join(names)}" if 0 < len(names) <= MOST_LISTED else None


@functools.cache
def key_names(model: type) -> tuple[str, ...]:
    """Dotted names of all keys of a model, of its sections too. Keys that depend on a section's `kind` are left out."""
    names: list[str] = []
    for name, annotation in hints_of(model).items():
        names.append(name)
        sections = sections_in(annotation)
        if len(sections) == 1:
            names += [f"{name}.{inner}" for inner in key_names(sections[0])]
    return tuple(names)


def fields_at(model: type, path: Iterable[Any]) -> list[str]:
    """Names of the fields of the section at `path`; of a union, of the member that its tag names."""
    current = [model]
    for part in path:
        annotations = [hints[part] for m in current if part in (hints := hints_of(m))]
        if annotations:
            current = [found for annotation in annotations for found in sections_in(annotation)]
        else:
            current = [m for m in current if part in get_args(hints_of(m).get("kind"))]
    return [name for m in current for name in hints_of(m)]


def hints_of(section: Any) -> dict[str, Any]:
    """Annotations of the fields of a model or dataclass."""
    hints = get_type_hints(section)
    if issubclass(section, BaseModel):
        return {name: hints[name] for name in section.model_fields}
    return {field.name: hints[field.name] for field in dataclasses.fields(section)}


def sections_in(annotation: Any) -> list[type]:
    """The models and dataclasses that a field of this annotation may hold."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        return [annotation]
    return [found for part in get_args(annotation) for found in sections_in(part)]
