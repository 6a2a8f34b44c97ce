"""Scripts: what they look up and how their turns read; renaming keeps episodes consistent."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import parse_turn
from harness.tasks.world.names import population_text
from harness.training.warm_start.name_randomization import Renamer, numbers_in
from harness.training.warm_start.reading import people
from harness.training.warm_start.scripted_agents import look_up, turn
from harness.training.warm_start.thoughts import FoundFacts, progress_note
from harness.types import Question, Step


def test_looking_up_a_real_question_asks_for_supporting_titles_until_the_answer_is_seen() -> None:
    question = Question("q", "Who wrote it?", ("Ada",), "nq", 2, supporting=("1", "2", "3"))
    script = look_up(question, {"1": "First", "2": "Second", "3": "Third"})
    assert "Search: Who wrote it?" in next(script)
    assert "Search: First" in script.send("<info>nothing</info>")
    assert "Search: Second" in script.send("<info>nothing</info>")
    assert "<answer>Ada</answer>" in script.send("<info>It was ADA.</info>")


@given(st.integers(0, 10_000))
def test_renaming_is_consistent_and_complete(seed: int) -> None:
    words = [f"Word{letter}" for letter in "abcdefgh"]
    rename = Renamer(["Chad", "N'Djamena", "New Chad"], words, np.random.default_rng(seed), ["1.9 million"])
    text = rename("New Chad is not Chad. Chad's capital is N'Djamena, of 1.9 million. Chadwick stays.")
    assert "N'Djamena" not in text
    assert text.endswith("Chadwick stays.")
    assert text.startswith(rename("New Chad"))
    assert f"not {rename('Chad')}." in text
    assert f"of {rename('1.9 million')}." in text
    new = [word for name in ("Chad", "N'Djamena", "New Chad") for word in rename(name).split()]
    assert len(set(new)) == len(new)
    assert set(new) <= set(words)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 10**8), min_size=1, max_size=9))
def test_renamed_numbers_keep_their_order(seed: int, sizes: list[int]) -> None:
    old = [population_text(1000 * n) for n in sizes]
    said = [f"Most so far Chad {number}. 3 of 5." for number in old]
    numbers = numbers_in(said)
    assert [people(n) for n in numbers] == sorted({people(number) for number in old})
    rename = Renamer(["Chad"], ["A", "B"], np.random.default_rng(seed), numbers)
    new = [people(rename(n)) for n in numbers]
    assert new == sorted(set(new))
    assert [rename(text) for text in said] == [f"Most so far {rename('Chad')} {rename(n)}. 3 of 5." for n in old]


def test_a_scripted_turn_is_well_formed() -> None:
    assert parse_turn(turn("so", tool="Search: x"), ("Search",)).well_formed
    assert parse_turn(turn("so", answer="x"), ("Search",)).well_formed


def test_a_thought_quotes_the_list_from_the_entity_looked_up_to_the_next_or_to_the_end() -> None:
    plan = tuple(Step(name, "country", value, name) for name, value in (("Medan", "Indonesia"), ("Perth", "Australia")))
    question = Question("q", "How many of these are in Indonesia: Medan or Perth?", ("1",), "s", 2, plan=plan)
    found = FoundFacts([("Medan", "Country", "Indonesia")])
    assert progress_note(question, found, 1, False) == "Country: Indonesia. 1 in Indonesia so far. Medan or Perth. "
    found.facts.append(("Perth", "Country", "Australia"))
    assert progress_note(question, found, 2, False) == "Country: Australia. 1 in Indonesia so far. Perth? "


def test_a_thought_on_a_tour_counts_the_steps() -> None:
    plan = (Step("Medan", "next", "Perth", "1"), Step("Perth", "next", "Ufa", "2"))
    question = Question("q", "Start at Medan and follow Next 2 times.", ("Ufa",), "world_tour", 2, plan=plan)
    found = FoundFacts([("Medan", "Next", "Perth")])
    assert progress_note(question, FoundFacts(), 0, False) == "0 of 2. "
    assert progress_note(question, found, 1, True) == f"{question.text} Next: Perth. 1 of 2. "


def test_a_thought_names_what_a_comparison_has_found_so_far() -> None:
    plan = tuple(Step(name, "country", value, name) for name, value in (("Medan", "Indonesia"), ("Perth", "Australia")))
    question = Question("q", "Which city is in Australia, Medan or Perth?", ("Perth",), "s", 2, plan=plan)
    found = FoundFacts([("Medan", "Country", "Indonesia")])
    assert progress_note(question, FoundFacts(), 0, False) == "Compare. "
    assert progress_note(question, found, 1, False) == "Country: Indonesia. So far none. Medan or Perth. "
    found.facts.append(("Perth", "Country", "Australia"))
    assert progress_note(question, found, 2, False) == "Country: Australia. So far Perth. Perth? "
