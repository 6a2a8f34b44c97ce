"""Tours: an invented relation `next` that leads from city to city in closed loops, stated in the cities' passages.

Following it takes one search a step, and no memory knows it: the length of an episode is set by the question.
Questions: `Start at X and follow Next k times. Where are you?`, k from 3 to 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from harness.tasks.world.candidates import Candidate
from harness.tasks.world.entities import Entity, Fact
from harness.tasks.world.names import is_plain, name_key, stable_hash
from harness.types import Step

SUITE = "world_tour"
STEPS = range(3, 11)
LOOPS = {
    ("train", False): 320,
    ("validation", False): 24,
    ("validation", True): 24,
    ("test", False): 40,
    ("test", True): 40,
}
"""Cities on each loop, by its split and whether they are held-out entities."""
_SALT = "tour-1"
_TEXTS = (
    "Start at {x} and follow Next {k} times. Where are you?",
    "Go from {x} along Next {k} times. Which city do you reach?",
    "Which city comes {k} stops after {x}, by Next?",
)


def _loops(entities: Mapping[str, Entity], held_out: frozenset[str]) -> list[tuple[str, tuple[Entity, ...]]]:
    """(split, cities in order) of each loop. Raises ValueError if the world has too few cities."""
    held_names = {name_key(entities[title].name) for title in held_out}
    fit = [
        e for e in entities.values()
        if e.kind == "city" and not e.shared and e.askable and e.title == e.name and is_plain(e.name, 12)
        and " " not in e.name
    ]  # fmt: skip
    fit.sort(key=lambda e: stable_hash(_SALT, e.id))
    left = {
        True: [e for e in fit if e.title in held_out],
        False: [e for e in fit if e.title not in held_out and name_key(e.name) not in held_names],
    }
    loops = []
    for (split, held), size in LOOPS.items():
        if len(left[held]) < size:
            raise ValueError("the world has too few cities for its tours")
        loops.append((split, tuple(left[held][:size])))
        left[held] = left[held][size:]
    return loops


def with_tours(entities: Mapping[str, Entity], held_out: frozenset[str]) -> dict[str, Entity]:
    """`entities` with the fact `next` on every city of a loop."""
    found = dict(entities)
    for _, loop in _loops(entities, held_out):
        for here, there in pairwise((*loop, loop[0])):
            found[here.title] = replace(here, facts={**here.facts, "next": Fact((there.name,), (there.name,))})
    return found


def tour_candidates(entities: Mapping[str, Entity], held_out: frozenset[str]) -> Iterator[Candidate]:
    """A question for every start and number of steps; each loop belongs to one split."""
    for split, loop in _loops(entities, held_out):
        for i, start in enumerate(loop):
            for k in STEPS:
                path = [loop[(i + j) % len(loop)] for j in range(k + 1)]
                yield Candidate(
                    suite=SUITE,
                    signature=f"tour|{start.id}|{k}",
                    texts=tuple(text.format(x=start.name, k=k) for text in _TEXTS),
                    answers=(path[-1].name, *path[-1].aliases),
                    plan=tuple(Step(a.title, "next", b.name, a.id) for a, b in pairwise(path)),
                    entities=frozenset(e.title for e in path),
                    split=split,
                )
