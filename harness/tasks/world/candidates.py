"""All questions the world supports, before splits: composed from facts, each with its chain of hops.

A candidate's `signature` (start, relations) is what must not straddle splits: paraphrases and other suites' questions
on the same chain share it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from harness.tasks.world.entities import Entity, Fact
from harness.tasks.world.names import stable_hash
from harness.tasks.world.relations import RELATIONS
from harness.types import Step

OBSCURE = 0.5
"""Questions about entities from this obscurity on are in world_longtail, the others in world_single."""
COMPARE_RATIO = 1.5
"""Populations differ at least so much in a comparison: the sources count in different years."""

CHAINS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "world_compose": tuple(
        ("city", ("country", last)) for last in ("capital", "currency", "language", "continent", "population")
    ),
    "world_chain": (
        ("city", ("country", "capital", "population")),
        ("city", ("country", "neighbours", "capital")),
        ("city", ("country", "neighbours", "capital", "population")),
        ("country", ("capital", "population")),
        ("country", ("neighbours", "capital")),
        ("country", ("neighbours", "capital", "population")),
        ("currency", ("used_in", "capital")),
        ("currency", ("used_in", "capital", "population")),
        ("language", ("used_in", "capital")),
        ("language", ("used_in", "capital", "population")),
    ),
    "world_combo": (
        *(("currency", ("used_in", last)) for last in ("continent", "language", "population")),
        *(("language", ("used_in", last)) for last in ("continent", "currency", "population")),
        *(("country", ("neighbours", last)) for last in ("continent", "currency", "language", "population")),
    ),
}
"""Start kind and relations of the composed questions. No two neighbouring relations of world_combo are neighbours
in another suite: the combination, not the relation, is new."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A question in all its phrasings. `entities` are the titles of everything it is about, `value` included.

    `split` is where it belongs; None: the hash of its signature decides.
    """

    suite: str
    signature: str
    texts: tuple[str, ...]
    answers: tuple[str, ...]
    plan: tuple[Step, ...]
    entities: frozenset[str]
    split: str | None = None


def _answers(entities: Mapping[str, Entity], fact: Fact, kind: str | None) -> tuple[str, ...]:
    """The fact's accepted names, and the other names of the entity that its value is."""
    value = entities.get(fact.value)
    aliases = value.aliases if value is not None and value.kind == kind else ()
    return tuple(dict.fromkeys((*fact.accepted, *aliases)))


# What kind of entity a relation leads to (others lead to plain values).
LEADS_TO = {
    "country": "country", "neighbours": "country", "used_in": "country", "capital": "city", "currency": "currency",
}  # fmt: skip


def follow(entities: Mapping[str, Entity], start: Entity, relations: Sequence[str]) -> list[tuple[Entity, Fact]] | None:
    """The entities and facts along a chain; None where a fact is missing or an inner step is not one thing only."""
    here, path = start, []
    for i, key in enumerate(relations):
        fact = here.facts.get(key)
        last = i == len(relations) - 1
        if fact is None or (not last and not fact.unique) or (last and key == "used_in" and not fact.unique):
            return None
        path.append((here, fact))
        if not last:
            following = entities.get(fact.value)
            if following is None or following.kind != LEADS_TO.get(key):
                return None
            here = following
    return path


def phrasings(mention: str, path: Sequence[tuple[Entity, Fact]], relations: Sequence[str]) -> tuple[str, ...]:
    """All wordings of a chain: each inner relation's phrase around the one before, then the last one's question."""
    inner = [mention]
    for (entity, _), key in zip(path, relations[:-1], strict=False):
        inner = [phrase.format(s=s) for s, phrase in product(inner, RELATIONS[key].phrase[entity.kind])]
    asked = RELATIONS[relations[-1]].questions[path[-1][0].kind]
    return tuple(question.format(s=s) for s, question in product(inner, asked))


def _chain(
    entities: Mapping[str, Entity], suite: str, start: Entity, relations: tuple[str, ...], named: str | None = None
) -> Candidate | None:
    """A question on a chain from `start`, which it names `named` (an alias) or as usual."""
    path = follow(entities, start, relations)
    if path is None:
        return None
    steps = [
        Step(named if i == 0 and named is not None else entity.title, key, fact.value, entity.id)
        for i, ((entity, fact), key) in enumerate(zip(path, relations, strict=True))
    ]
    kind = LEADS_TO.get(relations[-1])
    answers = _answers(entities, path[-1][1], kind)
    about = {entity.title for entity, _ in path} | {step.value for step in steps}
    mention = start.mention if named is None else f"the {named}" if start.kind == "country" else named
    texts = phrasings(mention, path, relations)
    # An answer named in the question needs no reading.
    texts = tuple(t for t in texts if path[-1][1].value not in t)
    if not texts:
        return None
    signature = "|".join((start.id, *relations))
    return Candidate(suite, signature, texts, answers, tuple(steps), frozenset(about))


def _single(entities: Mapping[str, Entity]) -> Iterator[Candidate | None]:
    for start in entities.values():
        for key in start.facts if start.askable else ():
            if start.kind not in RELATIONS[key].questions:
                continue  # tours alone ask for it
            if start.shared and key == "country" and start.mention.endswith(start.facts[key].value):
                continue  # the mention gives it away
            obscure = start.obscurity >= OBSCURE and start.kind in ("country", "city")
            yield _chain(entities, "world_longtail" if obscure else "world_single", start, (key,))
            if start.alias is not None:
                yield _chain(entities, "world_alias", start, (key,), named=start.alias)


def _composed(entities: Mapping[str, Entity]) -> Iterator[Candidate | None]:
    by_kind: dict[str, list[Entity]] = defaultdict(list)
    for entity in entities.values():
        if entity.askable and not (entity.kind == "city" and entity.shared):
            by_kind[entity.kind].append(entity)
    for suite, shapes in CHAINS.items():
        for kind, relations in shapes:
            for start in by_kind[kind]:
                yield _chain(entities, suite, start, relations)


def _comparison(a: Entity, b: Entity, key: str, winner: Entity, texts: tuple[str, ...]) -> Candidate:
    steps = tuple(Step(e.title, key, e.facts[key].value, e.id) for e in (a, b))
    about = {a.title, b.title, *(step.value for step in steps)}
    signature = "|".join(("compare", key, *sorted((a.id, b.id))))
    answers = (winner.name, *winner.aliases)
    return Candidate("world_compare", signature, texts, answers, steps, frozenset(about))


def _more_people(a: Entity, b: Entity) -> Candidate | None:
    if max(a.people, b.people) < COMPARE_RATIO * min(a.people, b.people):
        return None
    high, low = (a, b) if a.people > b.people else (b, a)
    pair = f"{a.mention} or {b.mention}?"
    if stable_hash(a.id, b.id, "fewer") % 3 == 0:
        return _comparison(a, b, "population", low, (f"Which has fewer people, {pair}",))
    texts = (f"Which has more people, {pair}", f"Which has the larger population: {pair}")
    return _comparison(a, b, "population", high, texts)


def _which_in(a: Entity, b: Entity, key: str, texts: tuple[str, ...]) -> Candidate | None:
    """The question whether `first` or `second` has a's value; None if both may have it."""
    value = a.facts[key].value
    if value in b.facts[key].accepted or b.facts[key].value in a.facts[key].accepted:
        return None
    first, second = (a, b) if stable_hash(a.id, b.id, "order") % 2 else (b, a)
    asked = tuple(t.format(v=value, a=first.mention, b=second.mention) for t in texts)
    return _comparison(first, second, key, a, asked)


_COMPARED = {
    "continent": ("Which of them is in {v}: {a} or {b}?", "Which country is in {v}, {a} or {b}?"),
    "currency": ("Which of them uses the {v}: {a} or {b}?", "Which country uses the {v}, {a} or {b}?"),
    "country": ("Which city is in {v}, {a} or {b}?", "Which of them is in {v}: {a} or {b}?"),
}


def _compared(entities: Mapping[str, Entity], partners: int) -> Iterator[Candidate | None]:
    """Each country and unshared city against a few others, chosen by hash."""
    for kind in ("country", "city"):
        pool = [e for e in entities.values() if e.kind == kind and not e.shared and e.askable]
        pool.sort(key=lambda e: e.id)
        for a in pool:
            for i in range(partners if kind == "country" else 1):
                b = pool[stable_hash("pair", a.id, str(i)) % len(pool)]
                if a is b:
                    continue
                yield _more_people(a, b)
                for key in ("continent", "currency") if kind == "country" else ("country",):
                    yield _which_in(a, b, key, _COMPARED[key])


def all_candidates(entities: Mapping[str, Entity]) -> Iterator[Candidate]:
    """Every candidate of every suite, each signature once a suite, in a fixed order."""
    seen: set[tuple[str, str]] = set()
    for source in (_single(entities), _composed(entities), _compared(entities, partners=10)):
        for candidate in source:
            if candidate is not None and (candidate.suite, candidate.signature) not in seen:
                seen.add((candidate.suite, candidate.signature))
                yield candidate
