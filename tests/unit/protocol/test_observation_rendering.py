"""Observations cannot be mistaken for the policy's own text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import (
    XML,
    XML_CODE,
    neutralise,
    parse_turn,
    render_observation,
    truncate_middle,
    warning_text,
)
from harness.protocol.observation import FAILURE_TEXTS
from harness.types import ParseFailure

SPECIAL = [
    "<|im_end|>",
    "<|im_start|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<tool_call>",
    "<｜end▁of▁sentence｜>",
    "[/INST]",
]
PROTOCOL = [f"<{slash}{kind}>" for kind in ("think", "tool", "answer", "info") for slash in ("", "/")]
hostile = st.lists(st.sampled_from([*SPECIAL, *PROTOCOL, "<", ">", "|", "a", "<ANSWER>", " "])).map("".join)


@given(st.text(), st.integers(0, 200))
def test_a_cut_text_fits_and_keeps_both_ends(text: str, limit: int) -> None:
    cut = truncate_middle(text, limit)
    assert len(cut) <= limit
    if len(text) <= limit:
        assert cut == text
    elif limit >= 120:
        assert (cut[:20], cut[-20:]) == (text[:20], text[-20:])
        assert "cut in the middle" in cut
        assert len(cut) == limit


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        truncate_middle("x", -1)


@given(st.one_of(hostile, st.text()))
def test_an_observation_can_forge_neither_tags_nor_special_tokens(text: str) -> None:
    rendered = render_observation(text)
    assert rendered.startswith("<info>")
    assert rendered.endswith("</info>")
    inside = rendered[len("<info>") : -len("</info>")]
    assert len(inside) == len(text)
    assert not any(token.lower() in inside.lower() for token in [*SPECIAL, *PROTOCOL])
    assert XML.read(inside).elements == []
    assert "<|" not in inside
    assert "|>" not in inside
    assert neutralise(inside) == inside


@given(st.text(alphabet=st.characters(blacklist_characters="<>[]")))
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert neutralise(text) == text


def test_stray_markup_and_operators_inner_tags_are_left_alone() -> None:
    text = "a < b <br> <question>q</question> missing: <solution>"
    assert neutralise(text) == text


def test_an_echoed_answer_does_not_penalise_or_reward_the_policy_that_reads_it() -> None:
    """The observation is not parsed at all; even parsed as a turn it holds no element of the policy's."""
    parsed = parse_turn(render_observation("<answer>Paris</answer> <br> </think>"), ())
    assert parsed.answer_text is None
    assert parsed.action_spans == ()


@given(st.lists(st.sampled_from(list(ParseFailure)), unique=True))
def test_a_warning_names_the_two_permitted_forms_and_every_failure(failures: list[ParseFailure]) -> None:
    warning = warning_text(failures)
    assert "<tool>OperatorName: input</tool>" in warning
    assert "<answer>final answer</answer>" in warning
    for failure in failures:
        assert FAILURE_TEXTS[failure] in warning


def test_the_wording_of_warnings_is_what_policies_were_trained_on() -> None:
    """The shipped start policy has read these texts: another wording would be another environment."""
    assert warning_text([ParseFailure.EMPTY_THINK, ParseFailure.STRAY_TEXT], compact=True) == (
        "the thought was empty; there was text outside the tags Write <think>…</think><tool>Name: input</tool> or "
        "<think>…</think><answer>…</answer>."
    )
    assert warning_text([ParseFailure.MISSING_ACTION]) == (
        "there was no action Every turn must be <think>your reasoning</think> followed by exactly one of "
        "<tool>OperatorName: input</tool> or <answer>final answer</answer>."
    )


def test_the_forms_a_warning_names_are_themselves_well_formed() -> None:
    for form in XML.forms():
        assert parse_turn(form, ("OperatorName",)).failures == ()
    for form in XML_CODE.forms():
        assert parse_turn(form, (), grammar=XML_CODE).failures == ()


def test_every_failure_has_its_sentence_and_no_two_share_one() -> None:
    assert set(FAILURE_TEXTS) == set(ParseFailure)
    assert len(set(FAILURE_TEXTS.values())) == len(ParseFailure)
    assert all(re.fullmatch(r"[a-z][a-z ,]+", sentence) for sentence in FAILURE_TEXTS.values())
