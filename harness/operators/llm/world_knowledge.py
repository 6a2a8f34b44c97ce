"""The offline world as a KnowledgeBase: the facts that the simulated LLM knows and confuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.operators.llm.knowledge_base import KnownFact, Reader
from harness.tasks.world import RELATIONS, World

# How relations are worded in questions and queries, beside their key and noun; one wording may stand for several
# (an "official language" of a country, or the country where a language is official).
WORDINGS: Mapping[str, Sequence[str]] = {
    "money": ("currency",),
    "official language": ("language", "used_in"),
    "borders": ("neighbours",),
    "bordering": ("neighbours",),
    "border": ("neighbours",),
    "neighbour": ("neighbours",),
    "neighbor": ("neighbours",),
    "people": ("population",),
    "inhabitants": ("population",),
    "used": ("used_in",),
    "uses": ("used_in",),
}


class WorldKnowledge:
    """KnowledgeBase of `world`. A name that several places bear is taken to mean the best-known of them."""

    def __init__(self, world: World) -> None:
        self._facts = world.facts
        self._known: dict[tuple[str, str], KnownFact | None] = {}
        names: dict[str, str] = {}
        for entity in sorted(world.entities.values(), key=lambda e: (e.obscurity, e.id)):
            for name in (entity.title, entity.mention, entity.name, *entity.aliases, *filter(None, (entity.alias,))):
                names.setdefault(name, entity.title)
        names.update({title: title for title in world.entities})
        by_wording = {r.noun: (key,) for key, r in RELATIONS.items()} | {
            key.replace("_", " "): (key,) for key in RELATIONS
        }
        self._reader = Reader(names, {**by_wording, **WORDINGS}, self.fact)

    def fact(self, subject: str, relation: str) -> KnownFact | None:
        key = (subject, relation)
        if key not in self._known:
            self._known[key] = self._look_up(subject, relation)
        return self._known[key]

    def read(self, text: str) -> tuple[KnownFact, ...]:
        return self._reader.read(text)

    def _look_up(self, subject: str, relation: str) -> KnownFact | None:
        entity = self._facts.find(subject)
        values = self._facts.values(subject, relation)
        if entity is None or not values:
            return None
        wrong = self._facts.wrong(subject, relation)
        obscurity = entity.obscurity if RELATIONS[relation].questions else 1.0  # what the world invented
        return KnownFact(entity.title, relation, values, wrong, obscurity)
