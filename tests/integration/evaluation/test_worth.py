"""What the world pays for, as studies assume it: measured by scripted agents that read passages by rule."""

from __future__ import annotations

from functools import cache

from harness.evaluation.worth import AGENTS, FAULT_RATE, UNDER_FAULTS, Worth, worth

QUESTIONS = 40
CALL_COST = 0.03


@cache
def of(name: str) -> Worth:
    faults = FAULT_RATE if name in UNDER_FAULTS else 0.0
    return worth({**AGENTS, **UNDER_FAULTS}[name], QUESTIONS, faults=faults)


def test_there_is_room_between_a_poor_policy_and_the_best() -> None:
    assert of("from memory").mean < 0.3
    assert of("one search").mean < 0.5
    assert of("a search a hop").mean > 0.9


def test_no_policy_reaches_the_ceiling_without_reading() -> None:
    unread = ("from memory", "ask the expert", "three answers, one chosen", "ask, review, revise if doubted",
              "the same, three rounds")  # fmt: skip
    assert all(of(name).mean < of("a search a hop").mean - 0.2 for name in unread)


def test_review_and_revise_gain_where_they_are_used_selectively() -> None:
    assert of("misreading, review where unsure").mean > of("misreading").mean + 0.05


def test_review_and_revise_used_blindly_lose_against_their_cost() -> None:
    reader, blind = of("a search a hop"), of("a search a hop, review and revise all")
    assert blind.mean - CALL_COST * blind.calls < reader.mean - CALL_COST * reader.calls
    assert blind.mean <= reader.mean


def test_retrying_gains_under_faults() -> None:
    assert of("retry up to three times").mean > of("no retry").mean + 0.15


def test_long_suites_make_long_episodes() -> None:
    tours = worth(AGENTS["a search a hop"], QUESTIONS, ["world_tour", "world_aggregate"])
    assert tours.turns >= 5
