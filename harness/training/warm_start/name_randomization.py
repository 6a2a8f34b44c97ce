"""Scripted episodes with their names replaced by random ones, so that copying is the only way to get them right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

_ONSETS = ("b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "j", "k", "kh", "l", "m", "n", "p", "qu", "r", "s",
           "sh", "st", "t", "th", "tr", "v", "w", "y", "z", "")  # fmt: skip
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ou", "ia", "ei", "ue")
_CODAS = ("", "", "", "n", "r", "l", "s", "m", "t", "k", "ng", "nd")


def random_name(rng: np.random.Generator) -> str:
    """One or two capitalised words of one to three syllables each."""

    def word() -> str:
        parts = (
            _ONSETS[rng.integers(len(_ONSETS))]
            + _NUCLEI[rng.integers(len(_NUCLEI))]
            + _CODAS[rng.integers(len(_CODAS))]
            for _ in range(rng.integers(1, 4))
        )
        return "".join(parts).capitalize()

    return " ".join(word() for _ in range(1 + (rng.random() < 0.25)))


class Renamer:
    """Replaces whole names in several texts alike. Longer names go first, so that a name inside another is safe."""

    def __init__(self, names: Sequence[str], rng: np.random.Generator) -> None:
        ordered = sorted(set(names), key=lambda n: (-len(n), n))
        self._new = {name: _number(name, rng) or random_name(rng) for name in ordered}
        self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in ordered)) if ordered else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda m: self._new[m.group()], text) if self._pattern else text


def _number(name: str, rng: np.random.Generator) -> str | None:
    """A random number of the same form for a population (`1.9 million`), else None."""
    if not name[:1].isdigit():
        return None
    return re.sub(r"\d+", lambda m: str(rng.integers(10 ** (len(m.group()) - 1), 10 ** len(m.group()))), name)
