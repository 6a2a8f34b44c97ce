"""Pairing of opening and closing tags into elements, and the failures that it shows."""

from __future__ import annotations

from harness.protocol.grammar import Element, Kind, Reading, Tag
from harness.types import ParseFailure

# Looked up once: member access on an enum class costs more than the work done with it.
_ANSWER, _INFO = Kind.ANSWER, Kind.INFO
_FORGED_INFO, _NESTED_TAG, _UNOPENED_TAG = ParseFailure.FORGED_INFO, ParseFailure.NESTED_TAG, ParseFailure.UNOPENED_TAG


def pair_tags(text: str, tags: list[Tag]) -> Reading:
    """Strict reading of `text` from its tags, left to right. Amortised constant time per tag.

    A closing tag closes the nearest open tag of its kind; open tags in between stay unclosed. An element is top-level
    if no *closed* element encloses it: an unclosed `<think>` ends where the next element begins. An answer counts only
    if no element of another kind is open around it, not even one that is never closed.
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
    unopened: list[Tag] = []
    crossed: list[Tag] = []

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
            unopened.append((kind, False, start, end))
            continue
        while stack[-1][0] is not kind:
            left, left_at, left_end = stack.pop()
            depth[left] -= 1
            unclosed_at = min(unclosed_at, left_at)
            crossed.append((left, True, left_at, left_end))
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
    stray_at = _first_stray_text(text, elements, unopened)
    if stray_at is not None:
        note(ParseFailure.STRAY_TEXT, stray_at)
    answer = text[answers[-1][1] : answers[-1][2]] if answers else None
    return Reading(elements, faults, answer, unopened, crossed)


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


def _first_stray_text(text: str, elements: list[Element], unopened: list[Tag]) -> int | None:
    """Offset of the first visible character outside elements and tags; None if there is none."""
    covered = [(e.start, e.end) for e in elements]
    if unopened:
        covered = sorted(covered + [(start, end) for _, _, start, end in unopened])
    at = 0
    for start, end in [*covered, (len(text), len(text))]:
        if at < start:
            gap = text[at:start]
            if not gap.isspace():
                return at + len(gap) - len(gap.lstrip())
        at = max(at, end)
    return None
