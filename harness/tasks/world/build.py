"""Construction of entities from records: distinguishing titles, unambiguous aliases, obscurity."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache

from harness.tasks.world.corrections import LANGUAGE_NAMES, SPOKEN_ELSEWHERE
from harness.tasks.world.entities import Entity, Fact
from harness.tasks.world.names import ONE_WORD, ascii_name, name_key, pick_by_hash, population_text
from harness.tasks.world.sources import CityRecord, CountryRecord, cities, countries, currency_names

LISTED_COUNTRIES = 4
"""A passage names at most so many neighbours, or users of a currency or language: those with the most people."""


@dataclass(frozen=True, slots=True)
class Users:
    """Users of a currency or language: as the main one, and beside another or in a region only."""

    main: list[CountryRecord] = field(default_factory=list)
    other: list[CountryRecord] = field(default_factory=list)


def _population(people: int) -> Fact:
    return Fact((population_text(people),), (population_text(people), f"{people:,}"))


def _city_alias(city: CityRecord, claims: Counter[str]) -> str | None:
    """An alternative name (Bombay, Saigon): another first letter, no spelling variant, no other entity's name."""
    own = name_key(city.name)
    names = (ascii_name(name) for name in city.alternatives)
    good = tuple(
        name
        for name in names
        if ONE_WORD.fullmatch(name) and len(name) >= 5
        and name.lower()[0] != own[0] and claims[name_key(name)] == 1 and own not in name_key(name)
    )  # fmt: skip
    return pick_by_hash(good, "alias", str(city.id)) if good else None


def _city(city: CityRecord, taken: frozenset[str], claims: Counter[str]) -> Entity:
    """A city whose name another place, a country, a currency or a language bears gets a distinguishing title."""
    country = countries()[city.country]
    clash = name_key(city.name) in taken
    shared = city.n_namesakes > 1 or clash
    place = city.region or country.name
    within = place if name_key(place) != name_key(city.name) else "city"
    # The passage of a capital keeps the plain title even so: it is what "the capital of X" leads to.
    title = city.name if not clash and (city.capital or not shared) else f"{city.name} ({within})"
    mention = city.name
    if shared:
        mention = f"{city.name}, {place}" if city.region else f"{city.name} in {country.mention}"
    return Entity(
        id=f"city:{city.id}",
        kind="city",
        title=title,
        name=city.name,
        mention=mention,
        facts={
            "country": Fact((country.name,), (country.name, *country.aliases)),
            "population": _population(city.population),
        },
        alias=None if shared else _city_alias(city, claims),
        shared=shared,
        askable=not clash,
        people=city.population,
    )


def _own_aliases(country: CountryRecord) -> tuple[str, ...]:
    """Other names that no second country bears."""
    return tuple(a for a in country.aliases if _country_claims()[name_key(a)] == 1)


@cache
def _country_claims() -> Counter[str]:
    return Counter(key for c in countries().values() for key in {name_key(name) for name in (c.name, *c.aliases)})


def _country(country: CountryRecord, claims: Counter[str]) -> Entity:
    known = countries()
    currency = currency_names()[country.currency]
    near = tuple(known[code].name for code in country.neighbours)
    near_aliases = tuple(alias for code in country.neighbours for alias in _own_aliases(known[code]))
    capitals = (country.capital, *country.capital_aliases, *country.more_capitals)
    languages = country.languages + tuple(n for name in country.languages for n in LANGUAGE_NAMES.get(name, ()))
    facts = {
        "continent": Fact(country.continents[:1], country.continents, len(country.continents) == 1),
        "capital": Fact((country.capital,), capitals, not country.more_capitals),
        "currency": Fact((currency,), (currency, country.currency)),
        "language": Fact(country.languages[:1], languages),
        "population": _population(country.population),
    }
    if near:
        facts["neighbours"] = Fact(near[:LISTED_COUNTRIES], near + near_aliases, country.n_borders == 1)
    official = country.official_name
    return Entity(
        id=f"country:{country.code}",
        kind="country",
        title=country.name,
        name=country.name,
        mention=country.mention,
        facts=facts,
        aliases=_own_aliases(country),
        alias=official if official is not None and claims[name_key(official)] == 1 else None,
        people=country.population,
    )


def _in_use(kind: str, key: str, name: str, users: Users, aliases: tuple[str, ...]) -> Entity:
    """A currency or language and the countries where it is legal tender or official."""
    ordered = sorted(users.main, key=lambda c: (-c.population, c.code))
    everywhere = [*ordered, *sorted(users.other, key=lambda c: c.code)]
    accepted = tuple(c.name for c in everywhere) + tuple(alias for c in everywhere for alias in _own_aliases(c))
    listed = tuple(c.name for c in ordered[:LISTED_COUNTRIES])
    return Entity(
        id=f"{kind}:{key}",
        kind=kind,
        title=name,
        name=name,
        mention=f"the {name}" if name.endswith(" language") else name,
        facts={"used_in": Fact(listed, accepted, len(everywhere) == 1 and name not in SPOKEN_ELSEWHERE)},
        aliases=aliases,
        people=ordered[0].population,
    )


def _with_obscurity(entities: Iterable[Entity]) -> list[Entity]:
    """Rank by people within the kind: 0 the most, 1 the fewest."""
    ranked = sorted(entities, key=lambda e: (-e.people, e.id))
    return [replace(e, obscurity=i / max(1, len(ranked) - 1)) for i, e in enumerate(ranked)]


def build_entities(n_cities: int) -> dict[str, Entity]:
    """All entities by title: countries, cities, currencies, languages. Raises ValueError if two share a title."""
    known = countries()
    records = cities(n_cities)
    currency_users: defaultdict[str, Users] = defaultdict(Users)
    language_users: defaultdict[str, Users] = defaultdict(Users)
    for country in known.values():
        currency_users[country.currency].main.append(country)
        for language in country.languages:
            language_users[language].main.append(country)
    for country in known.values():
        for currency in country.other_tender:
            if currency in currency_users:
                currency_users[currency].other.append(country)
        for language in country.regional_languages:
            if language in language_users:
                language_users[language].other.append(country)
    titles = currency_names()
    country_names = {name_key(name) for c in known.values() for name in (c.name, *c.aliases)}
    other_names = {name_key(titles[code]) for code in currency_users} | {name_key(name) for name in language_users}
    claims = Counter(_country_claims())
    for city in records:
        claims.update({name_key(name) for name in (city.name, *city.alternatives)})
    claims.update(other_names)
    taken = frozenset(country_names | other_names)
    groups = (
        [_country(c, claims) for c in known.values()],
        [_city(c, taken, claims) for c in records],
        [_in_use("currency", code, titles[code], users, (code,)) for code, users in currency_users.items()],
        [
            _in_use("language", name_key(name), f"{name} language" if name_key(name) in country_names else name, users,
                    LANGUAGE_NAMES.get(name, ()))
            for name, users in language_users.items()
        ],
    )  # fmt: skip
    entities: dict[str, Entity] = {}
    for group in groups:
        for entity in _with_obscurity(group):
            if entity.title in entities:
                raise ValueError(f"two entities share the title {entity.title!r}")
            entities[entity.title] = entity
    return entities
