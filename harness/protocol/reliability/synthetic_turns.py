"""Synthetic malformed turns with known element boundaries: the ground truth for parse reliability.

A turn is generated in pieces, each labelled with its element. A malformation removes, repeats, swaps or rewrites
pieces, so the true span of an element is known by construction: from its first to its last character.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.protocol.reliability.held_out_malformations import HELD_OUT, held_out_pieces
from harness.protocol.reliability.malformations import (
    MALFORMATIONS,
    OPERATORS,
    THINK,
    NothingToSpoil,
    Piece,
    well_formed,
    well_formed_call,
)
from harness.types import ParseFailure, Span

__all__ = ["COMBINATIONS", "CUT_OFF", "KINDS", "OPERATORS", "TrueTurn", "make_episode", "make_turn"]


@dataclass(frozen=True, slots=True)
class TrueTurn:
    """A turn's text with the true spans of its elements, whether it may be executed, and the failures to report."""

    kind: str
    text: str
    think: Span | None
    actions: tuple[Span, ...]
    executable: bool
    expected: frozenset[ParseFailure]
    truncated: bool = False
    operators: tuple[str, ...] = OPERATORS


CUT_OFF = "cut off"
"""Truncated at a random character, as by a token limit."""

COMBINATIONS: Mapping[str, int] = {"two at once": 2, "three at once": 3}
"""Numbers of random malformations applied in sequence: damage that no repair was written for."""

KINDS: tuple[str, ...] = (*MALFORMATIONS, CUT_OFF, *COMBINATIONS)


def make_turn(kind: str, rng: random.Random) -> TrueTurn:
    """Random turn with the malformation `kind`, one of KINDS or HELD_OUT. Raises KeyError for an unknown kind."""
    if kind in HELD_OUT:
        return _written(kind, held_out_pieces(kind, rng), False, frozenset(), None)
    if kind in COMBINATIONS:
        return _written(kind, _combined(COMBINATIONS[kind], rng), False, frozenset(), None)
    if kind == CUT_OFF:
        pieces = well_formed(rng)
        cut = rng.randint(1, sum(len(p.text) for p in pieces))
        return _written(kind, pieces, False, frozenset({ParseFailure.TRUNCATED_TURN}), cut)
    malformation = MALFORMATIONS[kind]
    pieces = malformation.spoil(well_formed_call(rng) if malformation.calls_only else well_formed(rng), rng)
    return _written(kind, pieces, not malformation.expected, malformation.expected, None)


def make_episode(kinds: Sequence[str], seed: int) -> tuple[TrueTurn, ...]:
    """One turn of each of `kinds`, in order."""
    rng = random.Random(seed)
    return tuple(make_turn(kind, rng) for kind in kinds)


def _combined(count: int, rng: random.Random) -> list[Piece]:
    """A call with `count` different malformations. Combinations that do not apply or cancel out are drawn again."""
    harmful = [m for m in MALFORMATIONS.values() if m.expected]
    while True:
        pieces = well_formed_call(rng)
        try:
            for malformation in rng.sample(harmful, count):
                pieces = malformation.spoil(pieces, rng)
        except NothingToSpoil:
            continue
        if not _is_whole(pieces) and any(p.text.strip() for p in pieces):
            return pieces


def _is_whole(pieces: Sequence[Piece]) -> bool:
    tags = [p.text for p in pieces if p.role != "text"]
    return tags in (["<think>", "</think>", "<tool>", "</tool>"], ["<think>", "</think>", "<answer>", "</answer>"])


def _written(
    kind: str, pieces: Sequence[Piece], executable: bool, expected: frozenset[ParseFailure], cut: int | None
) -> TrueTurn:
    text, spans = "", dict[str, Span]()
    for piece in pieces:
        if piece.owner and piece.text:
            first = spans.get(piece.owner, Span(len(text), 0))
            spans[piece.owner] = Span(first.start, len(text) + len(piece.text))
        text += piece.text
    end = len(text) if cut is None else cut
    spans = {owner: Span(s.start, min(s.end, end)) for owner, s in spans.items() if s.start < end}
    actions = sorted((span for owner, span in spans.items() if owner != THINK), key=lambda span: span.start)
    return TrueTurn(kind, text[:end], spans.get(THINK), tuple(actions), executable, expected, cut is not None)
