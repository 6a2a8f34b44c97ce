"""Recorded turns: outputs of a small language model, labelled by hand.

SmolLM2-135M-Instruct wrote them with one or two example episodes in its prompt, at two temperatures and without any
training on the protocol: all turns of those draws, none left out. `recorded_turns.jsonl` has one a line: `source`,
`text`, `truncated`, and the labels `think` ([start, end] or null) and `actions` ([[start, end], …]), character offsets
with tags included, and `executable`, whether the turn is in the required form. A plain reading decides:

- the think element is what stands between marks that name thinking (`<think>`, `<thought>`, `<mind>`, …);
- an action stands between marks of a tool, an answer or a response; text in other or no marks belongs to no element;
- an element that is closed by the wrong mark ends there; one that is never closed, where the next begins or at the end.

The labels were written before recovery was changed for the first time after them. No repair of `recovery.py` may be
written for these turns. Turns of another model are added as lines of the same form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.protocol.reliability.synthetic_turns import TrueTurn
from harness.types import Span

FILE = Path(__file__).with_suffix(".jsonl")
POOL = ("Search", "Review", "AnswerGenerate")
"""Operators that the model's prompt named."""


def recorded_turns(file: Path = FILE) -> dict[str, list[TrueTurn]]:
    """Labelled turns by source, in the file's order.

    Raises:
        ValueError: with file and line, for a line that is no labelled turn.
    """
    turns: dict[str, list[TrueTurn]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            turns.setdefault(str(row["source"]), []).append(_labelled(row))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}:{number}: not a labelled turn ({type(error).__name__}: {error})") from None
    return turns


def _labelled(row: Mapping[str, Any]) -> TrueTurn:
    text = str(row["text"])
    return TrueTurn(
        kind=str(row["source"]),
        text=text,
        think=None if row["think"] is None else _span(row["think"], text),
        actions=tuple(_span(pair, text) for pair in row["actions"]),
        executable=bool(row["executable"]),
        expected=frozenset(),
        truncated=bool(row["truncated"]),
        operators=POOL,
    )


def _span(pair: Sequence[int], text: str) -> Span:
    start, end = pair
    if not 0 <= start < end <= len(text):
        raise ValueError(f"span [{start}, {end}] outside a text of {len(text)} characters")
    return Span(start, end)
