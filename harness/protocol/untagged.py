"""Where an element begins whose opening tag is misspelt or missing, and which opening tags a thought only quotes.

For recovery alone: nothing found here is executed or rewarded.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from difflib import SequenceMatcher

from harness.protocol.grammar import Kind, Reading

LEAST_SIMILARITY = 0.7
"""Ratio of matching characters from which on a bracketed word is a misspelt name: `(answers)`, `<tol>`, `[anwser]`."""

_NAME_IN_BRACKETS = re.compile(r"[<(\[{*]{1,2}\s{0,3}(\w{3,12})\b\s{0,3}:?[>)\]}*]{0,2}:?")
_NAME_AND_COLON = re.compile(r"^[ \t]*(\w{3,12})[ \t]*:", re.MULTILINE)
_CALL = re.compile(r"\s*(\w+)\s*:")
_CALL_IN_TEXT = re.compile(r"(?:^|(?<=[.!?]))\s*(\w+)\s*:", re.MULTILINE)
_MID_SENTENCE = re.compile(r"[\w,;][ \t]*[\"'`(]?\Z")
_REACH = 64  # characters before a tag that decide whether it stands in mid-sentence


def untagged_start(
    text: str, kind: Kind, start: int, end: int, operators: Collection[str], *, after_thought: bool
) -> int | None:
    """Start of the element of `kind` that a closing tag ends at `end`, in text from `start` on that opens none.

    In order: the last misspelt opening tag or heading of that kind; for a tool, a call of one of `operators` at the
    start of the text, else the last one that begins a line or a sentence; without a thought before (`after_thought`
    false), the last line, as the lines before it are the thought. None: all of the text.
    """
    region = text[start:end]
    names = [m for pattern in (_NAME_IN_BRACKETS, _NAME_AND_COLON) for m in pattern.finditer(region)]
    openings = [m.start() for m in names if _resembles(m.group(1), kind)]
    if openings:
        return start + _visible(region, max(openings))
    if kind is Kind.TOOL:
        calls = [m.start(1) for m in _CALL_IN_TEXT.finditer(region) if m.group(1) in operators]
        if calls:
            return None if not region[: calls[0]].strip() else start + calls[-1]
    if after_thought:
        return None
    line = region.rstrip().rfind("\n") + 1
    return start + _visible(region, line) if region[:line].strip() else None


def quoted_openings(text: str, reading: Reading, actions: Collection[Kind], operators: Collection[str]) -> set[int]:
    """Starts of the opening tags that a thought mentions ("I may use <answer> now") instead of beginning an action.

    Such a tag stands in mid-sentence before the thought ends, is never closed, opens no call of one of `operators`, and
    an action that is no mention follows.
    """
    closings = [e.start for e in reading.elements if e.kind is Kind.THINK and e.closed]
    closings += [start for kind, _, start, _ in reading.unopened if kind is Kind.THINK]
    thought_ends = min(closings, default=len(text))
    quoted: set[int] = set()
    action_follows = False
    for element in reversed(reading.elements):
        if element.kind not in actions:
            continue
        before = text[max(element.start - _REACH, 0) : element.start]
        call = _CALL.match(text, element.inner_start)
        called = call is not None and call.group(1) in operators
        if element.closed or called or element.start > thought_ends or not _MID_SENTENCE.search(before):
            action_follows = True
        elif action_follows:
            quoted.add(element.start)
    return quoted


def _resembles(word: str, kind: Kind) -> bool:
    return SequenceMatcher(None, word.lower(), kind).ratio() >= LEAST_SIMILARITY


def _visible(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())
