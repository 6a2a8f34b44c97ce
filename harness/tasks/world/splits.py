"""Train, validation and test splits by hashes of content: equal in every process, stable when the world grows.

Held-out entities (40 countries with all their cities, and a share of the other cities by name) are in no training
question: not in its text, its answers or its plan. Their passages exist, as in any retrieval corpus. The other
questions are split by the signature of their chain, so one fact is never trained on in one suite and tested in another.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from harness.tasks.world.candidates import Candidate
from harness.tasks.world.entities import Entity
from harness.tasks.world.names import name_key, stable_hash
from harness.types import Question

SPLITS = ("train", "validation", "test")
N_HELD_OUT_COUNTRIES = 40
HELD_OUT_CITY_SHARE = 0.12
MOST_PEOPLE = 40_000_000
"""Countries with more people are never held out: one of them would take a tenth of the world's cities along."""
PERCENT_VALIDATION, PERCENT_TEST = 4, 10
CAP = {"train": 6000, "validation": 200, "test": 400}
"""At most so many questions a suite and split, half of those of validation and test about held-out entities."""
TRAIN_WORDINGS = {"world_alias": 2, "world_chain": 2}
"""Suites with few facts ask each of them in so many wordings (in training only)."""
_SALT = "world-split-1"
_WORD = re.compile(r"[A-Za-z'.-]+")


def held_out_titles(entities: Mapping[str, Entity]) -> frozenset[str]:
    """Titles of the held-out countries and cities, and of currencies and languages that only those countries use."""
    names = [e.name for e in entities.values() if e.kind == "country"]
    # "Guinea" is part of other countries' names: holding it out would take those along.
    eligible = [
        e for e in entities.values()
        if e.kind == "country" and e.people <= MOST_PEOPLE and sum(e.name in other for other in names) == 1
    ]  # fmt: skip
    eligible.sort(key=lambda e: stable_hash(_SALT, "country", e.id))
    countries = {e.title for e in eligible[:N_HELD_OUT_COUNTRIES]}
    held = set(countries)
    capitals = {name_key(e.facts["capital"].value) for e in entities.values() if e.kind == "country"}
    for entity in entities.values():
        if entity.kind == "city":
            drawn = stable_hash(_SALT, "city", name_key(entity.name)) % 1000 < 1000 * HELD_OUT_CITY_SHARE
            own = entity.facts["country"].value
            if own in countries or (drawn and name_key(entity.name) not in capitals):
                held.add(entity.title)
        elif "used_in" in entity.facts and all(user in countries for user in entity.facts["used_in"].listed):
            held.add(entity.title)
    return frozenset(held)


class _Mentions:
    """Find held-out names in text, as whole words in their own spelling."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {words for name in names if (words := tuple(w.rstrip(".'") for w in _WORD.findall(name)))}
        self._longest: dict[str, int] = {}  # by first word
        self._known: dict[str, bool] = {}  # answers and values repeat thousands of times
        for name in self._names:
            self._longest[name[0]] = max(len(name), self._longest.get(name[0], 0))

    def any_in(self, text: str) -> bool:
        if text not in self._known:
            self._known[text] = self._search(text)
        return self._known[text]

    def _search(self, text: str) -> bool:
        words = [word.rstrip(".'") for word in _WORD.findall(text)]
        return any(
            tuple(words[i : i + n]) in self._names
            for i, word in enumerate(words)
            if word in self._longest
            for n in range(1, self._longest[word] + 1)
        )


def _mentions_of(entity: Entity) -> tuple[str, ...]:
    """Names that identify this entity alone: a shared name counts only together with its place."""
    if entity.shared:
        return (entity.mention, entity.title)
    return tuple(name for name in (entity.name, entity.alias, *entity.aliases) if name is not None)


def _question(candidate: Candidate, text: str) -> Question:
    supporting = tuple(dict.fromkeys(step.passage_id for step in candidate.plan))
    return Question(
        id=f"{candidate.suite}-{stable_hash(candidate.suite, text):016x}",
        text=text,
        answers=candidate.answers,
        suite=candidate.suite,
        hops=len(candidate.plan),
        supporting=supporting,
        plan=candidate.plan,
    )


def _split_of(candidate: Candidate, about_held_out: bool) -> str:
    if candidate.split is not None:
        return candidate.split
    roll = stable_hash(_SALT, candidate.signature) % 100
    if about_held_out or candidate.suite == "world_combo":
        return "validation" if roll < 30 else "test"
    return (
        "validation" if roll < PERCENT_VALIDATION else "test" if roll < PERCENT_VALIDATION + PERCENT_TEST else "train"
    )


def split_questions(
    candidates: Iterable[Candidate], held_out: frozenset[str], entities: Mapping[str, Entity]
) -> dict[str, tuple[Question, ...]]:
    """Questions by split, ordered by suite and then by the hash of their id. A text occurs once in the whole world."""
    mentions = _Mentions(name for title in sorted(held_out) for name in _mentions_of(entities[title]))
    piles: dict[tuple[str, str, bool], list[tuple[int, Candidate]]] = defaultdict(list)
    for candidate in candidates:
        about = not candidate.entities.isdisjoint(held_out)
        split = _split_of(candidate, about)
        if split == "train":
            # The wordings differ in none of their names.
            names = (candidate.texts[0], *candidate.answers, *(step.value for step in candidate.plan))
            if any(mentions.any_in(text) for text in names):
                continue  # a held-out name inside another name (York in New York): no training question mentions it
        rank = stable_hash(_SALT, candidate.suite, candidate.signature)
        piles[split, candidate.suite, about].append((rank, candidate))
    questions: dict[str, list[Question]] = {split: [] for split in SPLITS}
    texts: set[str] = set()
    for (split, suite, _), pile in sorted(piles.items(), key=lambda item: item[0]):
        pile.sort(key=lambda ranked: ranked[0])
        limit = CAP[split] if split == "train" or suite == "world_combo" else CAP[split] // 2
        for rank, candidate in pile[:limit]:
            wordings = TRAIN_WORDINGS.get(suite, 1) if split == "train" else 1
            for i in range(min(wordings, len(candidate.texts))):
                text = candidate.texts[(rank + i) % len(candidate.texts)]
                if text not in texts:
                    texts.add(text)
                    questions[split].append(_question(candidate, text))
    for found in questions.values():
        # A prefix of a suite is a fair sample of it: held-out and seen, easy and hard mixed.
        found.sort(key=lambda q: (q.suite, stable_hash(_SALT, "order", q.id)))
    return {split: tuple(found) for split, found in questions.items()}
