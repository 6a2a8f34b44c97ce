"""Names as figures and the PDF can draw them, and looks that tell arms apart.

The figures' font has no CJK and few symbols; a missing glyph would be drawn as a box, so it is written as its code.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from matplotlib import font_manager

from analysis.stats.types import DegenerateInput
from harness.config.arm_names import cut_text
from reports.palette import COLOURS

FONT = "DejaVu Sans"
DRAWN_CHARS = 36
"""Of a name in a legend: a label of an arm fits, unless codes of its characters make it longer."""
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (6, 2, 1, 2)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
MOST_LOOKS = len(COLOURS) * len(DASHES) * len(MARKERS)
"""The three lengths have no common factor, so that no combination comes twice before."""


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, dash, marker and drawn name of one arm."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]
    marker: str
    name: str


@cache
def _glyphs() -> frozenset[int]:
    path = font_manager.findfont(font_manager.FontProperties(family=FONT))
    return frozenset(font_manager.get_font(path).get_charmap())


def drawable(text: str) -> str:
    """The text with characters that the font lacks as `\\u4f4e`, their code; line breaks stay."""
    return "".join(c if ord(c) in _glyphs() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def drawn_names(labels: Sequence[str]) -> list[str]:
    """The labels as a legend shows them: drawable, short, and as different from each other as they are."""
    names = [cut_text(drawable(label), DRAWN_CHARS) for label in labels]
    counts = Counter(names)
    return [name if counts[name] == 1 else cut_text(f"#{i + 1} {name}", DRAWN_CHARS) for i, name in enumerate(names)]


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """One look a label, by position; colour, dash and marker cycle with different periods.

    Raises DegenerateInput for more labels than there are looks: two would be drawn alike.
    """
    if len(labels) > MOST_LOOKS:
        raise DegenerateInput(f"{len(labels)} arms cannot be distinguished in one figure; the most is {MOST_LOOKS}")
    return {
        label: Look(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)], name)
        for i, (label, name) in enumerate(zip(labels, drawn_names(labels), strict=True))
    }
