"""Entities of the world and their facts: what passages and questions are composed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.tasks.world.relations import RELATIONS
from harness.types import Passage


@dataclass(frozen=True, slots=True)
class Fact:
    """The values of one relation of an entity.

    `listed` are the values its passage gives (the first is the expected answer); `accepted` all names that are right,
    the listed ones among them; `unique`: whether a phrase such as "the capital of X" names exactly one thing.
    """

    listed: tuple[str, ...]
    accepted: tuple[str, ...]
    unique: bool = True

    @property
    def value(self) -> str:
        return self.listed[0]


@dataclass(frozen=True, slots=True)
class Entity:
    """A country, city, currency or language. `title` is unique in the world, `name` need not be.

    `mention` is how a question names it without doubt; `askable` is False where no short mention does that.
    `alias` is another real name, written in the passage. `obscurity` in [0, 1] is the rank by people, 1 the fewest.
    """

    id: str
    kind: str
    title: str
    name: str
    mention: str
    facts: Mapping[str, Fact] = field(repr=False)
    aliases: tuple[str, ...] = ()
    alias: str | None = None
    shared: bool = False
    askable: bool = True
    people: int = 0
    obscurity: float = 0.0

    @property
    def passage(self) -> Passage:
        """The entity's only passage: 6 to 35 words, each relation's noun right before its values."""
        opening = f"{self.name} is a {self.kind}."
        if self.alias is not None:
            opening += f" {'Official name' if self.kind == 'country' else 'Also called'}: {self.alias}."
        listed = (f"{RELATIONS[key].noun}: {', '.join(fact.listed)}." for key, fact in self.facts.items())
        return Passage(self.id, self.title, " ".join((opening, *listed)))
