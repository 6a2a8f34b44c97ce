"""The scanner's work grows with its input and no faster, counted in executed lines rather than in seconds."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from harness.protocol import parse_turn
from harness.protocol.grammar import MAX_TAGS
from harness.types import ParseFailure

FLOODS = {
    "openings": lambda n: "<think>" * n,
    "closings": lambda n: "</tool>" * n,
    "elements": lambda n: "<tool>Search: x</tool>" * n,
    "nested": lambda n: "<tool>" * n + "</tool>" * n,
    "crossed": lambda n: "<think><tool></think></tool>" * n,
    "mixed openings, one closing": lambda n: "<think>" + "<tool>" * n + "</think>",
    "answers in thinks": lambda n: "<think><answer>a</answer>" * n + "</think>" * n,
    "answers in answers": lambda n: "<answer>" * n + "</answer>" * n,
    "closings of another kind": lambda n: "<think>" * n + "</tool>" * n,
    "alternating": lambda n: "<think><tool>" * n + "</tool>" * n + "</think>" * n,
    "misspelt openings": lambda n: "(answer) " * n + "</answer>",
    "calls without tags, one closing": lambda n: "Search: x\n" * n + "</tool>",
    "mentions": lambda n: "<think>" + "so <answer> " * n + "<tool>Search: x</tool>",
    "closings after lines": lambda n: "a\nb</answer>" * n,
    "no tags": lambda n: "<tool" * n,
}


def lines_executed(text: str) -> int:
    count = 0

    def tracer(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return tracer

    previous = sys.gettrace()
    sys.settrace(tracer)
    try:
        parse_turn(text, ("Search",))
    finally:
        sys.settrace(previous)
    return count


@pytest.mark.parametrize("flood", FLOODS)
def test_twice_the_tags_cost_at_most_twice_the_steps(flood: str) -> None:
    make = FLOODS[flood]
    small, large = lines_executed(make(200)), lines_executed(make(400))
    assert large <= 2 * small + 50


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_of_tags_is_cut_off_and_stays_malformed(flood: str) -> None:
    text = FLOODS[flood](100_000)
    parsed = parse_turn(text, ("Search",))
    assert parsed.action is None
    assert lines_executed(text) < 40 * MAX_TAGS
    assert len(set(parsed.failures)) == len(parsed.failures) <= len(ParseFailure)
