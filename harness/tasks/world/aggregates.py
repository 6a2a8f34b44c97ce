"""Aggregates: the largest or smallest of four to eight countries or cities, or how many of them have a property.

Every entity takes a search of its own; the answer takes all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.tasks.world.candidates import COMPARE_RATIO, Candidate
from harness.tasks.world.entities import Entity
from harness.tasks.world.names import is_plain, stable_hash
from harness.types import Step

SUITE = "world_aggregate"
SIZES = range(4, 9)
GROUPS = {"seen": 5200, "held_out": 900}
"""Groups drawn from entities that training may mention, and from held-out ones."""
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")
_SALT = "aggregate-1"
_MOST = ("Which has the most people: {names}?", "Which of these has the largest population: {names}?")
_FEWEST = ("Which has the fewest people: {names}?", "Which of these has the smallest population: {names}?")
_COUNT = {
    "country": ("How many of these are in {value}: {names}?", "How many are countries of {value}: {names}?"),
    "city": ("How many of these are in {value}: {names}?", "How many are cities of {value}: {names}?"),
}
_COUNTED = {"country": "continent", "city": "country"}


def _listed(group: Sequence[Entity]) -> str:
    *first, last = (e.name for e in group)
    return f"{', '.join(first)} or {last}"


def _candidate(
    group: Sequence[Entity], relation: str, answers: tuple[str, ...], texts: tuple[str, ...], key: str, held_out: bool
) -> Candidate:
    signature = "|".join(("aggregate", key, relation, *sorted(e.id for e in group)))
    roll = stable_hash(_SALT, "split", signature) % 100
    split = ("validation" if roll < 30 else "test") if held_out else "validation" if roll < 4 else "test"
    if not held_out and roll >= 14:
        split = "train"
    return Candidate(
        suite=SUITE,
        signature=signature,
        texts=texts,
        answers=answers,
        plan=tuple(Step(e.title, relation, e.facts[relation].value, e.id) for e in group),
        entities=frozenset((*(e.title for e in group), *(e.facts[relation].value for e in group))),
        split=split,
    )


def _extreme(group: Sequence[Entity], most: bool, held_out: bool) -> Candidate | None:
    """The largest or smallest; None if the next one comes too close."""
    ordered = sorted(group, key=lambda e: e.people, reverse=most)
    first, second = ordered[0].people, ordered[1].people
    if max(first, second) < COMPARE_RATIO * min(first, second):
        return None
    texts = tuple(t.format(names=_listed(group)) for t in (_MOST if most else _FEWEST))
    answers = (ordered[0].name, *ordered[0].aliases)
    return _candidate(group, "population", answers, texts, "most" if most else "fewest", held_out)


def _count(group: Sequence[Entity], held_out: bool) -> Candidate | None:
    """How many share the property of the group's first; None where the property is not one thing."""
    kind = group[0].kind
    relation = _COUNTED[kind]
    facts = [e.facts[relation] for e in group]
    if not all(f.unique for f in facts):
        return None
    value = facts[0].value
    n = sum(f.value == value for f in facts)
    ordered = sorted(group, key=lambda e: stable_hash(_SALT, "shuffle", e.id, value))
    texts = tuple(t.format(value=value, names=_listed(ordered)) for t in _COUNT[kind])
    return _candidate(ordered, relation, (str(n), _WORDS[n]), texts, f"count {value}", held_out)


def aggregate_candidates(entities: Mapping[str, Entity], held_out: frozenset[str]) -> Iterator[Candidate]:
    """Groups of one kind, drawn by hash; a third of the questions of each form."""
    fit = [
        e for e in entities.values()
        if e.kind in ("country", "city") and not e.shared and e.askable and e.title == e.name
        and is_plain(e.name, 14) and "population" in e.facts
    ]  # fmt: skip
    for origin, n_groups in GROUPS.items():
        pools = {
            kind: sorted(
                (e for e in fit if e.kind == kind and (e.title in held_out) == (origin == "held_out")),
                key=lambda e: e.id,
            )
            for kind in ("country", "city")
        }
        for i in range(n_groups):
            pool = pools["country" if i % 2 else "city"]
            size = SIZES[stable_hash(_SALT, origin, str(i), "size") % len(SIZES)]
            form = stable_hash(_SALT, origin, str(i), "form") % 3
            places = (stable_hash(_SALT, origin, str(i), str(j)) % len(pool) for j in range(4 * max(SIZES)))
            drawn = [pool[place] for place in dict.fromkeys(places)]
            if form == 2:  # draw some that share the first one's property: two cities by chance rarely do
                relation = _COUNTED[drawn[0].kind]
                same = [e for e in pool if e.facts[relation].value == drawn[0].facts[relation].value and e != drawn[0]]
                same.sort(key=lambda e: stable_hash(_SALT, origin, str(i), e.id))
                n_same = stable_hash(_SALT, origin, str(i), "same") % (size - 1)
                group = [drawn[0], *same[:n_same]]
                group += [e for e in drawn[1:] if e not in group][: size - len(group)]
                made = _count(group, origin == "held_out")
            else:
                made = _extreme(drawn[:size], form == 0, origin == "held_out")
            if made is not None:
                yield made
