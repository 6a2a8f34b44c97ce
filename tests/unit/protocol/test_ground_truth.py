"""Boundaries the parser finds against boundaries known by construction, and that the measure itself can fail."""

from __future__ import annotations

import random
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import parse_turn
from harness.protocol.recovery import MAX_CHARS
from harness.protocol.reliability import benchmark
from harness.protocol.reliability.benchmark import boundaries, boundary_accuracy, by_parser
from harness.protocol.reliability.held_out_malformations import HELD_OUT
from harness.protocol.reliability.malformations import MALFORMATIONS
from harness.protocol.reliability.synthetic_turns import (
    COMBINATIONS,
    KINDS,
    OPERATORS,
    TrueTurn,
    make_episode,
    make_turn,
)
from harness.types import ParsedTurn, ParseFailure, Span

SINGLE = [kind for kind in KINDS if kind not in COMBINATIONS]


def by_regex(turn: TrueTurn) -> ParsedTurn:
    """The usual regular expression, `<tag>(.*?)</tag>`: an action wherever one matches."""

    def spans(tag: str) -> list[Span]:
        return [Span(*m.span()) for m in re.finditer(f"<{tag}>(.*?)</{tag}>", turn.text, re.DOTALL)]

    thinks, actions = spans("think"), sorted(spans("tool") + spans("answer"), key=lambda span: span.start)
    return ParsedTurn(turn.text, thinks[0] if thinks else None, None, (), None, tuple(actions))


@pytest.mark.parametrize("kind", SINGLE)
def test_every_boundary_of_a_singly_malformed_turn_is_found_and_its_failures_are_named(kind: str) -> None:
    accuracy = boundary_accuracy(kind, n=150)
    assert accuracy.turns == 150
    assert accuracy.judged == 1.0
    assert accuracy.boundaries == 1.0
    assert accuracy.halves == 1.0


@pytest.mark.parametrize(("kind", "least"), [("two at once", 0.88), ("three at once", 0.78)])
def test_most_boundaries_are_found_under_damage_no_rule_was_written_for(kind: str, least: float) -> None:
    accuracy = boundary_accuracy(kind, n=600)
    assert accuracy.judged == 1.0
    assert accuracy.boundaries > least
    assert accuracy.boundaries < 1.0  # some such turns are ambiguous: a measure that calls them all right is broken


def test_the_measure_fails_a_parser_that_fails() -> None:
    blind = boundary_accuracy("none", n=100, parse=lambda turn: ParsedTurn(turn.text, None, None))
    assert (blind.boundaries, blind.halves, blind.judged) == (0.0, 0.0, 0.0)
    assert boundary_accuracy("none", n=100, parse=by_regex).boundaries == 1.0
    for kind in ("unclosed think", "call in think", "think in think", "tags in capitals"):
        assert boundary_accuracy(kind, n=100, parse=by_regex).boundaries < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_the_parser_is_never_worse_than_a_regular_expression(kind: str) -> None:
    regex = boundary_accuracy(kind, n=150, parse=by_regex)
    assert boundary_accuracy(kind, n=150).boundaries >= regex.boundaries


@pytest.mark.parametrize("kind", KINDS)
def test_turns_depend_on_kind_and_seed_alone_and_their_truth_lies_inside_the_text(kind: str) -> None:
    for seed in range(20):
        turn = make_turn(kind, random.Random(seed))
        assert turn == make_turn(kind, random.Random(seed))
        assert turn.text.strip()
        for span in [*turn.actions, *([turn.think] if turn.think else [])]:
            assert 0 <= span.start < span.end <= len(turn.text)
        assert turn.executable == (not turn.expected and kind not in COMBINATIONS)


def test_malformations_really_change_the_turn() -> None:
    for kind, malformation in MALFORMATIONS.items():
        texts = {make_turn(kind, random.Random(seed)).text for seed in range(30)}
        assert len(texts) > 5
        for seed in range(30):
            turn = make_turn(kind, random.Random(seed))
            assert (parse_turn(turn.text, OPERATORS).action is None) == bool(malformation.expected)


def test_an_episode_has_a_turn_of_each_kind_asked_for() -> None:
    episode = make_episode(["none", "crossed tags", "none"], seed=3)
    assert [turn.kind for turn in episode] == ["none", "crossed tags", "none"]
    assert episode == make_episode(["none", "crossed tags", "none"], seed=3)
    assert episode[0].text != episode[2].text


def test_white_space_at_the_edge_of_an_element_is_no_boundary() -> None:
    assert boundaries(" ab ", Span(0, 4), [Span(1, 3)]) == {
        (-1, "start"): 1,
        (-1, "end"): 3,
        (0, "start"): 1,
        (0, "end"): 3,
    }


def test_the_door_prints_a_row_for_each_kind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["ground_truth", "--turns", "5"])
    benchmark.main()
    in_sample, held_out = capsys.readouterr().out.split("\n\n")
    assert [line[:31].strip() for line in in_sample.splitlines()[2:]] == [*KINDS, "mean"]
    assert [line[:31].strip() for line in held_out.splitlines()[2:]] == [*HELD_OUT, "mean"]


@pytest.mark.parametrize("kind", HELD_OUT)
def test_a_held_out_turn_has_its_true_elements_in_order_and_is_never_executed(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(50):
        turn = make_turn(kind, rng)
        (action,) = turn.actions
        assert turn.think is not None
        assert 0 <= turn.think.start < turn.think.end <= action.start < action.end <= len(turn.text)
        assert benchmark.by_parser(turn).action is None


def test_held_out_kinds_are_none_of_those_that_repairs_were_written_for() -> None:
    assert len(HELD_OUT) >= 20
    assert not set(HELD_OUT) & set(KINDS)


LOOSE = [
    "<Think>", "</ think >", "＜tool＞", "</tооl>", "<ANSWER", "</answer>", "<think>", "</think>", "<tool>", "<", "a",
    " ", "Search: x", "ſ", "İ", "K",
]  # fmt: skip


@given(st.lists(st.sampled_from(LOOSE), max_size=14).map("".join))
def test_recovery_neither_raises_nor_makes_anything_executable(text: str) -> None:
    parsed = parse_turn(text, OPERATORS)
    strict = re.fullmatch(r"\s*<think>(?:(?!</?(?:think|tool|answer)>).)+</think>.*", text, re.DOTALL)
    assert parsed.action is None or strict is not None
    for span in [*parsed.action_spans, *([parsed.think] if parsed.think else [])]:
        assert 0 <= span.start <= span.end <= len(text)
    assert [s.start for s in parsed.action_spans] == sorted(s.start for s in parsed.action_spans)


def test_an_overlong_text_keeps_the_strict_reading() -> None:
    spoilt = "<THINK>a</THINK><tool>Search: x</tool>"
    assert parse_turn(spoilt, OPERATORS).think == Span(0, 16)
    assert parse_turn(spoilt + " " * MAX_CHARS, OPERATORS).think is None


def test_a_recovered_action_never_pays() -> None:
    """Reward and execution read strictly: an answer in capitals is where it is, but it is no answer."""
    parsed = by_parser(TrueTurn("", "<think>a</think><ANSWER>b</ANSWER>", None, (), False, frozenset()))
    assert parsed.action_spans == (Span(16, 34),)
    assert parsed.answer_text is None
    assert ParseFailure.MISSING_ACTION in parsed.failures
