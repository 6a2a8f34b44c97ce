"""Facts of the offline world: right by common knowledge and by a further source, and how they are looked up."""

import pytest
from countryinfo import CountryInfo

from harness.tasks.world import load_world
from harness.tasks.world.names import name_key, population_text

WORLD = load_world()
# --- facts


@pytest.mark.parametrize(
    ("subject", "relation", "value"),
    [
        ("France", "capital", "Paris"),
        ("Chad", "capital", "N'Djamena"),
        ("Kazakhstan", "capital", "Astana"),
        ("Australia", "capital", "Canberra"),
        ("Chad", "currency", "Central African CFA Franc"),
        ("Bhutan", "currency", "Bhutanese Ngultrum"),
        ("Brazil", "language", "Portuguese"),
        ("Ethiopia", "language", "Amharic"),
        ("Sudan", "language", "Arabic"),
        ("Suriname", "continent", "South America"),
        ("Timor-Leste", "continent", "Asia"),
        ("Portugal", "neighbours", "Spain"),
        ("Lesotho", "neighbours", "South Africa"),
        ("Nagoya", "country", "Japan"),
        ("Osaka", "country", "Japan"),
        ("Valencia (Venezuela)", "country", "Venezuela"),
        ("Valencia (Spain)", "country", "Spain"),
        ("Thai Baht", "used_in", "Thailand"),
        ("Icelandic", "used_in", "Iceland"),
    ],
)
def test_well_known_facts_are_right(subject: str, relation: str, value: str) -> None:
    assert WORLD.facts.values(subject, relation)[0] == value


def test_capitals_and_currencies_agree_with_a_source_the_world_does_not_use() -> None:
    differ: dict[str, set[str]] = {"capital": set(), "currency": set()}
    codes = {e.id.removeprefix("country:"): e for e in WORLD.entities.values() if e.kind == "country"}
    assert len(codes) > 185
    for code, entity in codes.items():
        if code == "XK":
            continue  # unknown there
        info = CountryInfo(code).info()
        capitals = {name_key(v) for v in entity.facts["capital"].accepted}
        if name_key(info["capital"]) not in capitals:
            differ["capital"].add(code)
        if entity.facts["currency"].accepted[1] not in info["currencies"]:
            differ["currency"].add(code)
    # Older than Burundi's move of capital (2019) and Astana's renaming (2022); San Marino and Vatican in other words.
    assert differ["capital"] == {"BI", "KZ", "SM", "VA"}
    # Redenominated since (a new code), and Croatia's euro (2023).
    assert differ["currency"] == {"BY", "HR", "MR", "SL", "ST", "VE", "ZM", "ZW"}


def test_borders_are_mutual() -> None:
    near = {
        e.title: set(e.facts["neighbours"].accepted)
        for e in WORLD.entities.values()
        if e.kind == "country" and "neighbours" in e.facts
    }
    for country, others in near.items():
        assert all(country in near[other] for other in others & near.keys()), country
    assert "Cuba" not in near["United States"]


def test_only_neighbours_are_the_only_ones() -> None:
    only = {e.title for e in WORLD.entities.values() if "neighbours" in e.facts and e.facts["neighbours"].unique}
    assert {"Portugal", "Lesotho", "Ireland", "South Korea", "Gambia"} <= only
    assert only.isdisjoint({"Canada", "Denmark", "Spain", "Chad", "Switzerland"})


@pytest.mark.parametrize(
    ("people", "text"),
    [(7, "7"), (921, "920"), (5204, "5.2 thousand"), (286641, "290 thousand"), (15477751, "15 million"),
     (1352617328, "1.4 billion"), (99_960_000, "100 million"), (999_999, "1.0 million"), (994_999, "990 thousand")],
)  # fmt: skip
def test_population_is_rounded_to_two_digits(people: int, text: str) -> None:
    assert population_text(people) == text


def test_countries_whose_capital_is_in_dispute_are_left_out() -> None:
    assert {"Israel", "Palestine", "Equatorial Guinea"}.isdisjoint(WORLD.entities)


# --- facts for look-up


@pytest.mark.parametrize("subject", ["France", "Chad", "Nagoya", "Euro", "Amharic", "Valencia (Spain)"])
def test_wrong_values_are_plausible_and_wrong(subject: str) -> None:
    for relation in WORLD.entities[subject].facts:
        right = {name_key(v) for v in WORLD.facts.values(subject, relation)}
        wrong = WORLD.facts.wrong(subject, relation)
        assert len(wrong) >= 3
        assert len(set(wrong)) == len(wrong)
        assert right.isdisjoint(name_key(v) for v in wrong)


def test_a_neighbours_capital_is_a_tempting_wrong_capital() -> None:
    assert {"Berlin", "Madrid"} & set(WORLD.facts.wrong("France", "capital"))


def test_facts_are_found_under_aliases_but_not_under_shared_names() -> None:
    assert WORLD.facts.values("Hellenic Republic", "capital") == ("Athens",)
    assert WORLD.facts.find("Valencia") is None
    assert WORLD.facts.values("Atlantis", "capital") == ()
    assert WORLD.facts.wrong("Atlantis", "capital") == ()
    assert WORLD.facts.obscurity("Atlantis") == 1.0


def test_obscurity_ranks_by_people() -> None:
    obscurity = WORLD.facts.obscurity
    assert 0 <= obscurity("China") < obscurity("Chad") < obscurity("Tuvalu") <= 1
    assert obscurity("Shanghai") == 0
