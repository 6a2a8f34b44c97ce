"""The nine relations of the world: how passages name them and how questions ask for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relation:
    """`noun` stands right before the value in a passage (`Capital: Paris.`) and in a search query (`France Capital`).

    `questions[kind]` asks for the value of an entity of that kind, `phrase[kind]` names the value inside a longer
    question; both have `{s}` for the entity. A relation without a phrase only ends a chain.
    """

    key: str
    noun: str
    questions: dict[str, tuple[str, ...]]
    phrase: dict[str, tuple[str, ...]]


RELATIONS: dict[str, Relation] = {
    r.key: r
    for r in (
        Relation(
            "capital",
            "Capital",
            {
                "country": (
                    "What is the capital of {s}?",
                    "Which city is the capital of {s}?",
                    "Name the capital of {s}.",
                ),
            },
            {"country": ("the capital of {s}",)},
        ),
        Relation(
            "currency",
            "Currency",
            {"country": ("What is the currency of {s}?", "Which currency is used in {s}?", "What money does {s} use?")},
            {},
        ),
        Relation(
            "language",
            "Language",
            {"country": ("What is the main official language of {s}?", "Which official language is spoken in {s}?")},
            {},
        ),
        Relation(
            "continent",
            "Continent",
            {"country": ("On which continent is {s}?", "Which continent does {s} belong to?")},
            {},
        ),
        Relation(
            "neighbours",
            "Neighbours",
            {"country": ("Which country borders {s}?", "Name a neighbour of {s}.", "Name a country that borders {s}.")},
            {"country": ("the only country bordering {s}", "the only neighbour of {s}")},
        ),
        Relation(
            "population",
            "Population",
            {
                "country": ("What is the population of {s}?", "How many people live in {s}?"),
                "city": ("What is the population of {s}?", "How many people live in {s}?"),
            },
            {},
        ),
        Relation(
            "country",
            "Country",
            {"city": ("Which country is {s} in?", "In which country is {s}?", "What country does {s} belong to?")},
            {"city": ("the country where {s} is", "the country that {s} is in")},
        ),
        Relation(
            "used_in",
            "Used in",
            {
                "currency": ("Which country uses the {s}?", "Where is the {s} used?"),
                "language": ("In which country is {s} an official language?", "Where is {s} an official language?"),
            },
            {
                "currency": ("the country that uses the {s}", "the country where the {s} is used"),
                "language": ("the country where {s} is an official language",),
            },
        ),
        Relation("next", "Next", {}, {}),  # invented, see `tours`
    )
}
