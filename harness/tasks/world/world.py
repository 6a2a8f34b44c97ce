"""The offline world: passages to retrieve, questions by split, and the facts behind both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from types import MappingProxyType

from harness.tasks.world.aggregates import aggregate_candidates
from harness.tasks.world.candidates import all_candidates
from harness.tasks.world.entities import Entity
from harness.tasks.world.facts import Facts
from harness.tasks.world.splits import SPLITS, held_out_titles, split_questions
from harness.tasks.world.tours import tour_candidates, with_tours
from harness.types import Passage, Question

SMALLEST_WITH_TOURS = 500
"""Worlds with fewer cities have no tours."""

# All of them exist in all three splits, but for world_combo.
SUITES = (
    "world_single",  # one hop on well-known entities (as NQ asks)
    "world_alias",  # one hop, the subject under another real name, answers with aliases (TriviaQA)
    "world_longtail",  # one hop on obscure countries and cities (PopQA)
    "world_compare",  # two entities compared (HotpotQA's comparisons)
    "world_compose",  # two hops (2WikiMultiHopQA)
    "world_chain",  # two to four hops (MuSiQue)
    "world_combo",  # two hops in combinations that no training question has (Bamboogle); validation and test only
    "world_tour",  # three to ten steps along an invented relation
    "world_aggregate",  # the largest, the smallest or the number of four to eight entities
)


@dataclass(frozen=True)
class World:
    """Immutable. `questions` maps train, validation and test to their questions; `held_out` are entity titles."""

    entities: Mapping[str, Entity]
    passages: tuple[Passage, ...]
    questions: Mapping[str, tuple[Question, ...]]
    facts: Facts
    held_out: frozenset[str]

    def split(self, name: str, suite: str | None = None) -> tuple[Question, ...]:
        """Questions of a split, of one suite if given. Raises KeyError for an unknown split or suite."""
        if name not in self.questions:
            raise KeyError(f"no split {name!r}: there are {', '.join(SPLITS)}")
        if suite is not None and suite not in SUITES:
            raise KeyError(f"no suite {suite!r}: there are {', '.join(SUITES)}")
        return tuple(q for q in self.questions[name] if suite is None or q.suite == suite)

    @cached_property
    def passage_by_id(self) -> Mapping[str, Passage]:
        return MappingProxyType({passage.id: passage for passage in self.passages})

    @cached_property
    def question_by_text(self) -> Mapping[str, Question]:
        """A text occurs once in the whole world."""
        return MappingProxyType({q.text: q for questions in self.questions.values() for q in questions})

    @cached_property
    def _held_out_passages(self) -> frozenset[str]:
        return frozenset(self.entities[title].id for title in self.held_out)

    def is_held_out_entity(self, question: Question) -> bool:
        """True of a question about an entity that no training question mentions."""
        return not self._held_out_passages.isdisjoint(question.supporting) or any(
            step.value in self.held_out for step in question.plan
        )


@cache
def load_world(n_cities: int = 600) -> World:
    """The world with the capitals and the `n_cities` largest cities of one-word names; built once, then cached.

    Raises ValueError for a negative number of cities.
    """
    if n_cities < 0:
        raise ValueError(f"n_cities is {n_cities}: needs to be 0 or more")
    from harness.tasks.world.build import build_entities  # needs packages that trials on other questions do without

    entities = build_entities(n_cities)
    held_out = held_out_titles(entities)
    if n_cities >= SMALLEST_WITH_TOURS:
        entities = with_tours(entities, held_out)
    candidates = chain(
        all_candidates(entities),
        tour_candidates(entities, held_out) if n_cities >= SMALLEST_WITH_TOURS else (),
        aggregate_candidates(entities, held_out),
    )
    questions = split_questions(candidates, held_out, entities)
    return World(
        entities=MappingProxyType(entities),
        passages=tuple(entity.passage for entity in entities.values()),
        questions=MappingProxyType(questions),
        facts=Facts.of(entities),
        held_out=held_out,
    )
