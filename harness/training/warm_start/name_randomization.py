"""Scripted episodes with their names replaced by others, so that copying is the only way to get them right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

TWO_WORDS = 0.2
"""Share of new names that are of two words."""


class Renamer:
    """Replaces whole names in several texts alike, by one or two of `words`, each as likely; no two become one.

    Longer names go first, so that a name inside another is safe.
    """

    def __init__(self, names: Sequence[str], words: Sequence[str], rng: np.random.Generator) -> None:
        ordered = sorted(set(names), key=lambda n: (-len(n), n))
        drawn = iter(rng.choice(len(words), 2 * len(ordered), replace=False).tolist())
        self._new = {}
        for name in ordered:
            first, second = words[next(drawn)], words[next(drawn)]
            self._new[name] = _number(name, rng) or (f"{first} {second}" if rng.random() < TWO_WORDS else first)
        self._pattern = re.compile("|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in ordered)) if ordered else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda m: self._new[m.group()], text) if self._pattern else text


def _number(name: str, rng: np.random.Generator) -> str | None:
    """A random number of the same form for a population (`1.9 million`), else None."""
    if not name[:1].isdigit():
        return None
    return re.sub(r"\d+", lambda m: str(rng.integers(10 ** (len(m.group()) - 1), 10 ** len(m.group()))), name)
