"""Best-effort recovery of the elements of a malformed turn.

It cuts a malformed turn into its think and action halves and serves to measure parsing. Execution and reward depend on
the strict reading alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from harness.protocol.grammar import MAX_TAGS, Element, Kind, Reading, Tag
from harness.protocol.pairing import pair_tags
from harness.protocol.untagged import quoted_openings, untagged_start

MAX_CHARS = 65_536
"""Longest text recovered, in characters; longer ones, which no turn is, keep the strict reading."""

_FULL_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)}
_LOOK_ALIKES = _FULL_WIDTH | str.maketrans("асԁеһіӏоѕոкт", "acdehilosnkt")
_VISIBLE = re.compile(r"\S")
_OPERATOR_CALL = re.compile(r"(\w+)\s*:")


def fold_look_alikes(text: str) -> str:
    """`text` with full-width and Cyrillic look-alikes replaced by the ASCII characters they resemble. Equal length."""
    return text if text.isascii() else text.translate(_LOOK_ALIKES)


def recover_elements(
    text: str,
    reading: Reading,
    loose: re.Pattern[str],
    tags: Mapping[Kind, tuple[str, str]],
    actions: Collection[Kind],
    operators: Collection[str],
) -> list[Element]:
    """Elements of a malformed turn, ordered by start: the strict `reading` and these repairs.

    - tags in another case, spacing or width (`loose`, two groups: slash and name) are tags;
    - an opening tag repeated at once belongs to one element;
    - an opening tag that a thought only mentions is text of the thought (`quoted_openings`);
    - a closing tag without an opening one closes an element that begins where its opening tag was crossed by another
      element's end, or where `untagged_start` finds that its opening tag is misspelt or missing, or else where the
      element before ended; the text before an element so found is the thought if there is none;
    - an action closed by the closing tag of another kind of action ends there;
    - an opening tag cut off at the end of the text opens an element;
    - a call that follows the thought without any tag is an action.
    """
    if len(text) > MAX_CHARS:
        return reading.elements
    found = [
        (Kind(m.group(2).lower()), not m.group(1), m.start(), m.end())
        for _, m in zip(range(MAX_TAGS), loose.finditer(fold_look_alikes(text)), strict=False)
    ]
    reading = pair_tags(text, found)
    quoted = quoted_openings(text, reading, actions, operators)
    if quoted:
        reading = pair_tags(text, [tag for tag in found if tag[2] not in quoted])
    elements = _without_stutter(text, reading.elements)
    elements = _with_unopened(text, elements, reading, actions, operators)
    covered = max([e.end for e in elements] + [end for _, _, _, end in reading.unopened], default=0)
    return _with_tail(text, elements, covered, tags, actions, operators)


def _without_stutter(text: str, elements: list[Element]) -> list[Element]:
    merged: list[Element] = []
    for element in elements:
        before = merged[-1] if merged else None
        stutters = before is not None and not before.closed and before.kind is element.kind
        if before is not None and stutters and not text[before.inner_start : element.start].strip():
            merged[-1] = element._replace(start=before.start)
        else:
            merged.append(element)
    return merged


def _with_unopened(
    text: str, elements: list[Element], reading: Reading, actions: Collection[Kind], operators: Collection[str]
) -> list[Element]:
    """Add or end the elements to which closing tags without an opening one belong."""
    elements = list(elements)
    opened: dict[Kind, list[int]] = {}  # starts of crossed opening tags not yet used
    added: list[Element] = []
    events: list[Tag] = sorted([*reading.unopened, *reading.crossed], key=lambda tag: tag[2])
    upcoming, covered = 0, 0  # index of the next element, and end of the text accounted for
    seen: set[Kind] = set()
    for kind, opening, start, end in events:
        if opening:
            opened.setdefault(kind, []).append(start)
            continue
        while upcoming < len(elements) and elements[upcoming].start < start:
            covered = max(covered, elements[upcoming].end)
            seen.add(elements[upcoming].kind)
            upcoming += 1
        last = elements[upcoming - 1] if upcoming else None
        inside = last is not None and not last.closed and start < last.end
        if last is not None and inside and {kind, last.kind} <= set(actions):
            elements[upcoming - 1] = last._replace(inner_end=start, end=end, closed=True)
            covered = end
            continue
        if last is not None and inside and last.kind is Kind.THINK and kind in actions and not opened.get(kind):
            # an open thought runs to the action whose closing tag this is, if that follows from it
            found = untagged_start(text, kind, last.inner_start, start, operators, after_thought=False)
            if found is not None:
                elements[upcoming - 1] = last._replace(inner_end=found, end=found)
                added.append(Element(kind, found, found, start, end, True, text[found:start]))
                seen.add(kind)
            covered = max(end, covered if found is None else end)
            continue
        begins = _first_visible(text, covered)
        found = None
        if opened.get(kind):
            begins = opened[kind].pop()
        elif kind in actions:
            thought = Kind.THINK in seen
            found = untagged_start(text, kind, begins, start, operators, after_thought=thought)
            if found is not None and not thought and begins < found:
                added.append(Element(Kind.THINK, begins, begins, found, found, False, text[begins:found]))
                seen.add(Kind.THINK)
            begins = begins if found is None else found
        # a thought comes first: text before a closing think tag after an action is stray
        fits = begins < start and not (kind is Kind.THINK and seen)
        if fits:
            added.append(Element(kind, begins, begins, start, end, True, text[begins:start]))
            seen.add(kind)
        covered = max(covered, end)
    return sorted(elements + added, key=lambda element: element.start) if added else elements


def _with_tail(
    text: str,
    elements: list[Element],
    covered: int,
    tags: Mapping[Kind, tuple[str, str]],
    actions: Collection[Kind],
    operators: Collection[str],
) -> list[Element]:
    """Add the element that the text after the last one opens, if any."""
    begins = _first_visible(text, covered)
    tail = text[begins:].rstrip()
    has_think = any(e.kind is Kind.THINK for e in elements)
    kind: Kind | None = None
    for candidate in (*actions,) if has_think else (Kind.THINK,):
        if tail and tags[candidate][0].startswith(tail):
            kind = candidate
    call = _OPERATOR_CALL.match(tail)
    if kind is None and has_think and call and call.group(1) in operators:
        kind = None if any(e.kind in actions for e in elements) else Kind.TOOL
    if kind is None:
        return elements
    return [*elements, Element(kind, begins, begins, len(text), len(text), False, tail)]


def _first_visible(text: str, at: int) -> int:
    match = _VISIBLE.search(text, at)
    return match.start() if match else len(text)
