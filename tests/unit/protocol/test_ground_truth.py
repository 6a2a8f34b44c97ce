"""Boundaries the parser finds against boundaries known by construction, and that the measure itself can fail."""

from __future__ import annotations

import random
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import XML, action_start_char, parse_turn
from harness.protocol.recovery import MAX_CHARS
from harness.protocol.reliability import benchmark
from harness.protocol.reliability.benchmark import boundaries, boundary_accuracy, by_parser
from harness.protocol.reliability.held_out_malformations import HELD_OUT
from harness.protocol.reliability.malformations import MALFORMATIONS
from harness.protocol.reliability.recorded_turns import FILE, recorded_turns
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
    in_sample, held_out, recorded, _ = capsys.readouterr().out.split("\n\n")
    assert [line[:31].strip() for line in in_sample.splitlines()[2:]] == [*KINDS, "mean"]
    assert [line[:31].strip() for line in held_out.splitlines()[2:]] == [*HELD_OUT, "mean"]
    assert [line[:31].strip() for line in recorded.splitlines()[2:]] == [*recorded_turns(), "mean"]


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


HAND_WRITTEN = [
    ("I know it now.\n(answer) 1969</answer>", 15),
    ("think:\nI need the date.\nSearch: first moon landing</tool>", 24),
    ("<think>I may use <answer> now. Let me search.\n<tool>Search: moon</tool>", 46),
    ("<think>I may use <answer> now. Let me search.\n<tool>Search: moon", 46),
    ("I may use <answer> now.</think>\n<tool>Search: moon</tool>", 32),
    ("<think>I know it now.\n(answer) 1969</answer>", 22),
    ("<think>I see.\n**Answer:** 1969</answer>", 14),
    ("<think>a</think> so <anwser>1969</answer>", 20),
    ("<think>a</think>\nSearch: moon</tool>", 17),
    ("<think>It is clear. <answer>1969 <tool>Search: moon</tool>", 20),  # not in mid-sentence: an action
]


@pytest.mark.parametrize(("text", "start"), HAND_WRITTEN, ids=[text[:30] for text, _ in HAND_WRITTEN])
def test_the_action_of_a_hand_written_turn_begins_where_a_reader_sees_it(text: str, start: int) -> None:
    parsed = parse_turn(text, ("Search", "Review"))
    assert action_start_char(parsed) == start
    assert parsed.action is None


words = st.text("abcdefgh ", min_size=1, max_size=12).filter(str.strip)
lines = st.lists(words, min_size=1, max_size=4).map("\n".join)
misspelt = st.sampled_from(["(answer) ", "[answer]", "<anwser>", "<answers>", "{answer} ", "<answer) "])


@given(lines, misspelt, words, st.booleans())
def test_a_misspelt_opening_tag_begins_the_action_that_its_closing_tag_ends(
    thought: str, opening: str, answer: str, tagged: bool
) -> None:
    before = f"<think>{thought}</think>\n" if tagged else f"{thought}\n"
    text = f"{before}{opening}{answer}</answer>"
    parsed = parse_turn(text, OPERATORS)
    assert parsed.action_spans == (Span(len(before), len(text)),)
    assert parsed.think is not None
    assert text[parsed.think.start : parsed.think.end].strip() == before.strip()
    assert (parsed.action, parsed.answer_text) == (None, None)


@given(words, st.sampled_from(["<answer>", "<tool>"]), words, st.sampled_from(["Search: x</tool>", "Search: x"]))
def test_a_tag_mentioned_in_an_open_thought_is_text_of_the_thought(a: str, tag: str, b: str, call: str) -> None:
    thought = f"<think>{a.strip()} {tag} {b.strip()}.\n"
    parsed = parse_turn(f"{thought}<tool>{call}", ("Search",))
    assert parsed.action_spans == (Span(len(thought), len(thought) + len("<tool>") + len(call)),)
    assert parsed.think == Span(0, len(thought))
    assert parsed.action is None


@given(st.sampled_from(KINDS), st.integers(0, 10_000))
def test_recovery_changes_neither_execution_nor_answer_nor_failures(kind: str, seed: int) -> None:
    """All that a policy reads or is rewarded for follows from the strict reading alone."""
    turn = make_turn(kind, random.Random(seed))
    parsed = by_parser(turn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(XML), "recover", lambda self, text, reading, operators: [])
        strict = by_parser(turn)
    assert (strict.action, strict.answer_text, strict.failures) == (parsed.action, parsed.answer_text, parsed.failures)
    if parsed.well_formed:
        assert strict == parsed


def test_the_three_sets_are_averaged_apart() -> None:
    in_sample, held_out, real = benchmark.accuracy_by_set(turns=5)
    assert in_sample.boundaries > 0.9 > 0.6 > held_out.boundaries
    kinds = [boundary_accuracy(kind, 5) for kind in HELD_OUT]
    assert held_out.boundaries == pytest.approx(sum(k.boundaries for k in kinds) / len(kinds))
    assert (held_out.turns, real.turns) == (5 * len(HELD_OUT), 64)
    assert in_sample.wrongly_executed == held_out.wrongly_executed == real.wrongly_executed == 0


def test_recorded_turns_carry_their_labels_and_are_executed_only_in_the_required_form() -> None:
    turns = [turn for listed in recorded_turns().values() for turn in listed]
    assert len(turns) == len({turn.text for turn in turns}) == 64
    executed = [turn.text for turn in turns if by_parser(turn).action is not None]
    assert executed == [turn.text for turn in turns if turn.executable]
    assert 0 < len(executed) < 10
    for turn in turns:
        spans = sorted([*turn.actions, *([turn.think] if turn.think else [])], key=lambda span: span.start)
        assert all(a.end <= b.start for a, b in pairwise(spans))  # elements do not overlap


@pytest.mark.parametrize(
    "line", ['{"source": "m", "text": "ab"}', '{"source": "m", "text": "ab", "truncated": false, "think": [0, 3], '
             '"actions": [], "executable": false}', "[1]", "no JSON"]
)  # fmt: skip
def test_a_line_that_is_no_labelled_turn_is_an_error_at_its_place(tmp_path: Path, line: str) -> None:
    file = tmp_path / "turns.jsonl"
    file.write_text(FILE.read_text().splitlines()[0] + "\n" + line + "\n")
    with pytest.raises(ValueError, match=r"turns\.jsonl:2: not a labelled turn"):
        recorded_turns(file)


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
