"""The order of training questions: epochs, a curriculum before them, and where a resumed trial continues."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import ConfigError, load_trial
from harness.training.question_order import question_order
from harness.types import Question

QUESTIONS = [Question(f"{suite}{i}", "?", ("a",), suite) for suite in ("easy", "hard") for i in range(5)]
EASY = [q for q in QUESTIONS if q.suite == "easy"]
STAGES = [(7, EASY), (3, QUESTIONS[3:7])]


def taken(n: int, skip: int = 0, stages: list[tuple[int, list[Question]]] = STAGES) -> list[Question]:
    return list(islice(question_order(QUESTIONS, 1, skip, stages), n))


def test_every_epoch_asks_each_question_once_in_a_new_order() -> None:
    first, second = (taken(10, skip, []) for skip in (0, 10))
    assert sorted(q.id for q in first) == sorted(q.id for q in second) == sorted(q.id for q in QUESTIONS)
    assert first != second


def test_a_curriculum_comes_first_and_the_ordinary_order_follows_unchanged() -> None:
    asked = taken(30)
    assert all(q in EASY for q in asked[:7])
    assert sorted(q.id for q in asked[:5]) == sorted(q.id for q in EASY)  # an epoch of the stage
    assert all(q in QUESTIONS[3:7] for q in asked[7:10])
    assert asked[10:] == taken(20, 0, [])


@given(st.integers(0, 40))
def test_a_resumed_order_continues_where_it_stopped(asked_before: int) -> None:
    assert taken(20, asked_before) == taken(60)[asked_before : asked_before + 20]


def test_a_stage_of_a_suite_that_is_not_trained_on_is_refused() -> None:
    with pytest.raises(ConfigError) as refused:
        load_trial("tiny", ["data.curriculum=[{steps: 2, suites: [world_single]}]"])
    assert "world_single, not among data.train_suites" in refused.value.render()
