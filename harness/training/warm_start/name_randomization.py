"""Scripted episodes with their names replaced by others, so that copying is the only way to get them right."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from harness.tasks.world.names import population_text
from harness.training.warm_start.reading import people

TWO_WORDS = 0.2
"""Share of new names that are of two words."""


class Renamer:
    """Replaces whole names in several texts alike, by one or two of `words`, each as likely; no two become one.

    Longer names go first, so that a name inside another is safe. `numbers`: populations, ordered by size (see
    `numbers_in`), replaced by others in the same order.
    """

    def __init__(
        self, names: Sequence[str], words: Sequence[str], rng: np.random.Generator, numbers: Sequence[str] = ()
    ) -> None:
        ordered = sorted(set(names), key=lambda n: (-len(n), n))
        drawn = iter(rng.choice(len(words), 2 * len(ordered), replace=False).tolist())
        self._new = other_numbers(numbers, rng)
        for name in ordered:
            first, second = words[next(drawn)], words[next(drawn)]
            self._new[name] = f"{first} {second}" if rng.random() < TWO_WORDS else first
        known = "|".join(re.escape(n) for n in (*ordered, *sorted(numbers, key=len, reverse=True)))
        self._pattern = re.compile(rf"(?<![\w.])(?:{known})(?!\w)") if known else None

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda m: self._new[m.group()], text) if self._pattern else text


def numbers_in(texts: Sequence[str]) -> list[str]:
    """Populations as passages write them (`1.9 million`), each once, in the order of their size."""
    found = {match.group() for text in texts for match in _POPULATION.finditer(text)}
    return sorted(found, key=lambda number: (people(number), number))


def other_numbers(ordered: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    """As many other populations in the same order, so that what compares them stays true; sizes spread evenly over
    five decades."""
    drawn = np.sort(rng.choice(len(POPULATIONS), len(ordered), replace=False))
    return {number: POPULATIONS[i] for number, i in zip(ordered, drawn.tolist(), strict=True)}


_POPULATION = re.compile(r"(?<![\w.])\d+(?:\.\d)? (?:thousand|million|billion)\b")
POPULATIONS = tuple(population_text(digits * 10**zeros) for zeros in range(3, 8) for digits in range(10, 100))
