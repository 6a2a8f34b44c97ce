"""Text and numbers from outside: what is refused, what is replaced, and that nothing else is touched."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.tasks.boundary import (
    MAX_DEPTH,
    is_count,
    is_scalar_text,
    parse_row,
    printable_line,
    scalar_value,
    value_fault,
)
from tests.support.examples import examples
from tests.support.hostile_rows import value

ANY_TEXT = st.text(st.characters())  # halves of surrogate pairs included
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False) | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
)


def encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@settings(max_examples=examples(500), deadline=None)
@given(JSON)
def test_a_value_is_faultless_exactly_if_it_can_be_encoded(item: Any) -> None:
    assert (value_fault(item) is None) == encodes(json.dumps(item, ensure_ascii=False))


@settings(max_examples=examples(500), deadline=None)
@given(JSON)
def test_cleaning_replaces_halves_and_nothing_else(item: Any) -> None:
    cleaned = scalar_value(item)
    assert value_fault(cleaned) is None
    assert scalar_value(cleaned) == cleaned
    if value_fault(item) is None:
        assert cleaned == item


@settings(max_examples=examples(500), deadline=None)
@given(ANY_TEXT)
def test_text_is_kept_character_by_character(text: str) -> None:
    assert is_scalar_text(text) == encodes(text)
    kept = "".join(c if encodes(c) else "\ufffd" for c in text)
    assert scalar_value(text) == kept
    shown = printable_line(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


def test_ten_thousand_hostile_values_are_cleaned_or_named() -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        item = value(rng)
        fault = value_fault(item)
        assert fault is None or fault.isprintable()
        json.dumps(scalar_value(item), ensure_ascii=False).encode()


def test_nesting_is_bounded_without_recursion() -> None:
    deep: Any = 0
    for _ in range(100_000):
        deep = [deep]
    assert "nested" in str(value_fault(deep))
    shallow: Any = 0
    for _ in range(MAX_DEPTH):
        shallow = {"a": shallow}
    assert value_fault(shallow) is None
    while isinstance(deep, list):  # taken apart by hand: the interpreter would do it by recursion
        deep = deep[0]


def test_integers_of_64_bits_are_numbers_and_longer_ones_are_named() -> None:
    assert parse_row("[9223372036854775807, -9223372036854775807, 1.5]") == [2**63 - 1, -(2**63) + 1, 1.5]
    for digits in (19, 20, 400, 5000, 100_000):
        try:
            parse_row("9" * digits)
        except ValueError as error:
            refused = str(error)
        assert f"{digits} digits" in refused


def test_counts_are_whole_numbers_in_range() -> None:
    assert [n for n in (0, 5, 6, -1, 1.0, True, None, "3", 10**400, float("nan")) if is_count(n, 5)] == [0, 5]
