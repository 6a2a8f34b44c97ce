"""Look-up of facts and of plausible mistakes, for the simulated operator LLM, which answers without passages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from harness.tasks.world.entities import Entity
from harness.tasks.world.names import name_key, stable_hash


@dataclass(frozen=True)
class Facts:
    """Facts by subject (title, name or alias, where that names one entity) and relation key."""

    entities: Mapping[str, Entity]
    _by_name: Mapping[str, Entity]
    _by_kind: Mapping[str, tuple[Entity, ...]]

    @classmethod
    def of(cls, entities: Mapping[str, Entity]) -> Facts:
        by_name: dict[str, Entity] = {}
        names = {
            e.title: {name_key(n) for n in (e.name, e.mention, e.alias, *e.aliases) if n is not None}
            for e in entities.values()
        }
        claims = Counter(key for keys in names.values() for key in keys)
        kinds: dict[str, list[Entity]] = {}
        for entity in entities.values():
            by_name.update({key: entity for key in names[entity.title] if claims[key] == 1})
            kinds.setdefault(entity.kind, []).append(entity)
        by_name.update({name_key(entity.title): entity for entity in entities.values()})
        return cls(entities, by_name, {kind: tuple(found) for kind, found in kinds.items()})

    def find(self, name: str) -> Entity | None:
        """The entity of that title, or the only one of that name or alias; None if there is none or several."""
        return self.entities.get(name) or self._by_name.get(name_key(name))

    def values(self, subject: str, relation: str) -> tuple[str, ...]:
        """All right values, the canonical one first; empty if the subject or the fact is unknown."""
        entity = self.find(subject)
        fact = entity.facts.get(relation) if entity is not None else None
        return fact.accepted if fact is not None else ()

    def obscurity(self, subject: str) -> float:
        """0 for the most populous entity of its kind, 1 for the least and for an unknown name."""
        entity = self.find(subject)
        return entity.obscurity if entity is not None else 1.0

    def wrong(self, subject: str, relation: str, limit: int = 5) -> tuple[str, ...]:
        """Up to `limit` plausible wrong values, the most tempting first; empty for an unknown subject or relation."""
        entity = self.find(subject)
        if entity is None or relation not in entity.facts:
            return ()
        right = {name_key(value) for value in (*entity.facts[relation].accepted, entity.name)}
        wrong: dict[str, None] = {}
        for value in self._tempting(entity, relation):
            if name_key(value) not in right:
                wrong[value] = None
            if len(wrong) == limit:
                break
        return tuple(wrong)

    def _tempting(self, entity: Entity, relation: str) -> Iterator[str]:
        """Values a confused reader would give: of neighbours first, then of others of the kind in a hashed order."""
        if relation == "capital":
            yield from (c.title for c in self._cities_of(entity.title))
        for other in (*self._near(entity), *self._others(entity)):
            fact = other.facts.get(relation)
            if fact is not None:
                yield fact.value

    def _cities_of(self, country: str) -> list[Entity]:
        """The country's two largest cities with a plain title."""
        found = (c for c in self._by_kind["city"] if c.facts["country"].value == country and c.title == c.name)
        return [city for city, _ in zip(found, range(2), strict=False)]

    def _near(self, entity: Entity) -> Iterable[Entity]:
        """Neighbour countries; for a city, namesakes and cities next in size."""
        if entity.kind == "country" and "neighbours" in entity.facts:
            return [self.entities[name] for name in entity.facts["neighbours"].listed]
        if entity.kind == "city":
            namesakes = [c for c in self._by_kind["city"] if c.name == entity.name and c is not entity]
            home = self.entities[entity.facts["country"].value].facts.get("neighbours")
            near = set(home.listed) if home is not None else set()
            return [*namesakes, *(c for c in self._by_kind["city"][:400] if c.facts["country"].value in near)]
        return ()

    def _others(self, entity: Entity) -> list[Entity]:
        """Twenty others of the same kind, chosen by hash."""
        pool = self._by_kind[entity.kind]
        return [pool[stable_hash("other", entity.id, str(i)) % len(pool)] for i in range(20)]
