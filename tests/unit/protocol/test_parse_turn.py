"""Execution and failures of well-formed and malformed turns."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.protocol import XML, XML_CODE, action_start_char, parse_turn, with_failure
from harness.protocol.pairing import pair_tags
from harness.types import ActionKind, ParsedTurn, ParseFailure, Span

F = ParseFailure
OPERATORS = ("Search", "Review", "AnswerGenerate")
THINK = "<think>Who wrote it?</think>"
CALL = "<tool>Search: author of The Hobbit</tool>"
ANSWER = "<answer>Tolkien</answer>"

# text, its failures in order of position, and the answer that counts
MALFORMED = [
    ("", (F.MISSING_ACTION, F.MISSING_THINK), None),
    ("  \n", (F.MISSING_ACTION, F.MISSING_THINK), None),
    ("just text", (F.STRAY_TEXT, F.MISSING_ACTION, F.MISSING_THINK), None),
    (CALL, (F.MISSING_THINK,), None),
    (ANSWER, (F.MISSING_THINK,), "Tolkien"),
    (THINK, (F.MISSING_ACTION,), None),
    (f"<think></think>{CALL}", (F.EMPTY_THINK,), None),
    (f"<think> \n</think>{ANSWER}", (F.EMPTY_THINK,), "Tolkien"),
    (f"{THINK}<tool></tool>", (F.EMPTY_ACTION,), None),
    (f"{THINK}<tool>  </tool>", (F.EMPTY_ACTION,), None),
    (f"{THINK}<tool>Search: </tool>", (F.EMPTY_ACTION,), None),
    (f"{THINK}{THINK}{CALL}", (F.MULTIPLE_THINKS,), None),
    (f"{THINK}{CALL}{THINK}{ANSWER}", (F.MULTIPLE_THINKS, F.MULTIPLE_ACTIONS), "Tolkien"),
    (f"{THINK}{CALL}{CALL}", (F.MULTIPLE_ACTIONS,), None),
    (f"{THINK}{CALL}{ANSWER}", (F.MULTIPLE_ACTIONS,), "Tolkien"),
    (f"{THINK}{ANSWER}<answer>Rowling</answer>", (F.MULTIPLE_ACTIONS,), "Rowling"),
    (f"{THINK}{ANSWER}<answer></answer>", (F.MULTIPLE_ACTIONS,), ""),
    (f"<think>Who?{CALL}", (F.UNCLOSED_TAG, F.NESTED_TAG), None),
    (f"{THINK}<tool>Search: x", (F.UNCLOSED_TAG,), None),
    (f"{THINK}<answer>Tolkien", (F.UNCLOSED_TAG,), None),
    (f"Who?</think>{CALL}", (F.STRAY_TEXT, F.UNOPENED_TAG, F.MISSING_THINK), None),
    (f"{THINK}Search: x</tool>", (F.STRAY_TEXT, F.UNOPENED_TAG, F.MISSING_ACTION), None),
    (f"{THINK}</think>{CALL}", (F.UNOPENED_TAG,), None),
    (f"<think>use {CALL} next</think>{ANSWER}", (F.NESTED_TAG,), "Tolkien"),
    (f"<think>use {CALL} next</think>", (F.NESTED_TAG, F.MISSING_ACTION), None),
    (f"<think>a<think>b</think>c</think>{CALL}", (F.NESTED_TAG,), None),
    (f"{THINK}<tool>Search: <answer>x</answer></tool>", (F.NESTED_TAG,), None),
    (
        "<think>a<tool>b</think>c</tool>",
        (F.NESTED_TAG, F.UNCLOSED_TAG, F.STRAY_TEXT, F.UNOPENED_TAG, F.MISSING_ACTION),
        None,
    ),
    (f"{CALL}{THINK}", (F.WRONG_ORDER,), None),
    (f"{ANSWER}\n{THINK}", (F.WRONG_ORDER,), "Tolkien"),
    (f"Sure! {THINK}{CALL}", (F.STRAY_TEXT,), None),
    (f"{THINK} so {CALL}", (F.STRAY_TEXT,), None),
    (f"{THINK}{ANSWER}.", (F.STRAY_TEXT,), "Tolkien"),
    (f"{THINK}{CALL}<info>Tolkien</info>", (F.FORGED_INFO,), None),
    (f"{THINK}{CALL}<info>", (F.FORGED_INFO, F.UNCLOSED_TAG), None),
    (f"{THINK}{CALL}</info>", (F.FORGED_INFO, F.UNOPENED_TAG), None),
    (f"{THINK}<info>{ANSWER}</info>", (F.FORGED_INFO, F.NESTED_TAG, F.MISSING_ACTION), None),
    (f"{THINK}<tool>author of The Hobbit</tool>", (F.MISSING_OPERATOR_NAME,), None),
    (f"{THINK}<tool>: x</tool>", (F.MISSING_OPERATOR_NAME,), None),
    (f"{THINK}<tool>who wrote this: x</tool>", (F.MISSING_OPERATOR_NAME,), None),
    (f"{THINK}<tool>Google: x</tool>", (F.UNKNOWN_OPERATOR,), None),
    (f"{THINK}<tool>search: x</tool>", (F.UNKNOWN_OPERATOR,), None),
    (f"<Think>a</Think>{CALL}", (F.STRAY_TEXT, F.MISSING_THINK), None),
    (f"＜think＞a＜/think＞{ANSWER}", (F.STRAY_TEXT, F.MISSING_THINK), "Tolkien"),
    (f"<think >a</think >{CALL}", (F.STRAY_TEXT, F.MISSING_THINK), None),
    (f"<think><think>a</think>{ANSWER}", (F.UNCLOSED_TAG, F.NESTED_TAG, F.MULTIPLE_THINKS), "Tolkien"),
]


@pytest.mark.parametrize(("text", "failures", "answer"), MALFORMED, ids=[text[:60] for text, _, _ in MALFORMED])
def test_a_malformed_turn_is_not_executed_and_each_failure_is_named_in_order(
    text: str, failures: tuple[ParseFailure, ...], answer: str | None
) -> None:
    parsed = parse_turn(text, OPERATORS)
    assert parsed.action is None
    assert sorted(parsed.failures) == sorted(failures)
    assert parsed.failures == failures
    assert parsed.answer_text == answer


def test_every_turn_level_failure_kind_has_a_hand_written_example() -> None:
    shown = {failure for _, failures, _ in MALFORMED for failure in failures}
    by_flag_or_caller = {F.TRUNCATED_TURN, F.OVER_BUDGET, F.NO_ANSWER}
    assert shown == set(ParseFailure) - by_flag_or_caller


def test_a_call_is_executed_with_its_operator_and_stripped_input() -> None:
    parsed = parse_turn(f" \n{THINK}\n<tool> Search :  who wrote: The Hobbit? \n</tool>\n", OPERATORS)
    assert parsed.well_formed
    assert parsed.action is not None
    assert (parsed.action.kind, parsed.action.operator) == (ActionKind.TOOL, "Search")
    assert parsed.action.text == "who wrote: The Hobbit?"
    assert parsed.text[parsed.action.span.start : parsed.action.span.end].startswith("<tool>")
    assert parsed.answer_text is None


def test_an_empty_answer_is_executed_and_is_no_format_failure() -> None:
    parsed = parse_turn(f"{THINK}<answer></answer>", OPERATORS)
    assert parsed.failures == ()
    assert parsed.action is not None
    assert (parsed.action.kind, parsed.action.text, parsed.answer_text) == (ActionKind.ANSWER, "", "")


def test_markup_that_is_no_protocol_tag_is_plain_text() -> None:
    parsed = parse_turn("<think>2 < 3 <br> <b>so</b> </ think></think><answer>a<br>b</answer>", OPERATORS)
    assert parsed.failures == ()
    assert parsed.answer_text == "a<br>b"


def test_inner_tags_of_an_operator_input_are_its_own() -> None:
    text = f"{THINK}<tool>Review: <question>q</question><solution>s</solution></tool>"
    action = parse_turn(text, OPERATORS).action
    assert action is not None
    assert action.text == "<question>q</question><solution>s</solution>"


def test_a_truncated_turn_is_not_executed_even_if_its_action_is_complete() -> None:
    parsed = parse_turn(THINK + ANSWER, OPERATORS, truncated=True)
    assert parsed.failures == (F.TRUNCATED_TURN,)
    assert parsed.action is None
    assert parsed.answer_text == "Tolkien"


def test_a_failure_found_outside_forbids_execution_and_is_not_repeated() -> None:
    parsed = with_failure(parse_turn(THINK + CALL, OPERATORS), F.OVER_BUDGET)
    assert (parsed.action, parsed.failures) == (None, (F.OVER_BUDGET,))
    assert with_failure(parsed, F.OVER_BUDGET).failures == (F.OVER_BUDGET,)


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        (THINK + CALL, len(THINK)),
        (f"<think>Who?{CALL}", len("<think>Who?")),
        (f"<think>use {CALL} next</think>{ANSWER}", len(f"<think>use {CALL} next</think>")),
        (CALL + THINK, 0),
        (f"{THINK}<tool>Search: x", len(THINK)),
        (THINK, len(THINK)),
        ("", 0),
    ],
)
def test_the_action_half_begins_at_the_first_action_as_recovered(text: str, offset: int) -> None:
    assert action_start_char(parse_turn(text, OPERATORS)) == offset


def test_the_code_grammar_executes_code_and_treats_answer_tags_as_text() -> None:
    parsed = parse_turn("<think>a</think><code>\nx = 1\nanswer('<answer>')\n</code>", (), grammar=XML_CODE)
    assert parsed.action is not None
    assert (parsed.action.kind, parsed.action.text) == (ActionKind.CODE, "x = 1\nanswer('<answer>')")
    assert parsed.answer_text is None
    assert parse_turn(THINK + ANSWER, (), grammar=XML_CODE).failures == (F.STRAY_TEXT, F.MISSING_ACTION)


# --- properties -----------------------------------------------------------------------------------------------------

TAGS = [f"<{slash}{kind}>" for kind in ("think", "tool", "answer", "info") for slash in ("", "/")]
FRAGMENTS = [
    *TAGS,
    *TAGS,
    "a",
    "b c",
    " ",
    "\n",
    ":",
    "Search:",
    "Google: ",
    "<",
    ">",
    "<br>",
    "<Think>",
    "İ",
    "\0",
    "‹",
]
tag_soup = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
content = st.text(max_size=30).filter(lambda s: not any(tag in s for tag in TAGS))

_ANY = f"(?:(?!{'|'.join(TAGS)}).)"
WELL_FORMED = re.compile(
    rf"\s*<think>\s*(?!</think>|\s){_ANY}+</think>\s*"
    rf"(?:<tool>\s*(?:Search|Review|AnswerGenerate)\s*:\s*(?!</tool>|\s){_ANY}+</tool>|<answer>{_ANY}*</answer>)\s*",
    re.DOTALL,
)


def check_invariants(text: str, parsed: ParsedTurn) -> None:
    assert (parsed.action is None) == bool(parsed.failures)
    assert len(set(parsed.failures)) == len(parsed.failures)
    spans = [*parsed.action_spans] + ([parsed.think] if parsed.think else [])
    for span in spans:
        assert 0 <= span.start <= span.end <= len(text)
    for before, after in zip(parsed.action_spans, parsed.action_spans[1:], strict=False):
        assert before.start < after.start
    if parsed.action is not None:
        assert parsed.think is not None
        assert parsed.think.end <= parsed.action.span.start
        assert parsed.action_spans == (parsed.action.span,)
    if parsed.answer_text:
        assert f"<answer>{parsed.answer_text}" in text.replace("\n", " ") or parsed.answer_text in text


@given(st.one_of(tag_soup, st.text()), st.booleans())
def test_no_text_raises_and_spans_stay_inside_it(text: str, truncated: bool) -> None:
    check_invariants(text, parse_turn(text, OPERATORS, truncated=truncated))
    check_invariants(text, parse_turn(text, OPERATORS, truncated=truncated, grammar=XML_CODE))


@given(tag_soup)
@example(THINK + CALL)
@example(THINK + "<answer></answer>")
def test_a_turn_is_executed_exactly_when_a_regular_expression_accepts_it(text: str) -> None:
    assert (parse_turn(text, OPERATORS).action is not None) == bool(WELL_FORMED.fullmatch(text))


@given(content.filter(str.strip), content, st.sampled_from(OPERATORS), st.sampled_from(["", " ", "\n\n"]))
def test_a_rendered_turn_parses_to_what_was_rendered(think: str, inner: str, operator: str, space: str) -> None:
    answered = parse_turn(f"{space}<think>{think}</think>{space}<answer>{inner}</answer>{space}", OPERATORS)
    assert answered.failures == ()
    assert answered.answer_text == inner.strip()
    if inner.strip():
        called = parse_turn(f"{space}<think>{think}</think>{space}<tool>{operator}: {inner}</tool>{space}", OPERATORS)
        assert called.action is not None
        assert (called.action.operator, called.action.text) == (operator, inner.strip())
        assert called.think == Span(len(space), len(space) + len(think) + len("<think></think>"))


@given(content.filter(str.strip), content, tag_soup)
def test_the_shortcut_for_ordinary_turns_agrees_with_the_general_pairing(think: str, inner: str, tail: str) -> None:
    for text in (
        f"<think>{think}</think> <answer>{inner}</answer>",
        f"<think>{think}</think><tool>{inner}</tool>{tail}",
    ):
        tags = [
            (kind, pair_of.index(m.group()) == 0, m.start(), m.end())
            for m in re.finditer("|".join(TAGS), text)
            for kind, pair_of in XML.tags.items()
            if m.group() in pair_of
        ]
        assert XML.read(text) == pair_tags(text, tags)


def elements_by_definition(text: str) -> list[tuple[str, int, int]]:
    """All closed elements (kind, start, end), nested ones included, by a direct reading of the pairing rule."""
    tags = [
        (m.group().strip("</>"), m.group()[1] != "/", m.start(), m.end()) for m in re.finditer("|".join(TAGS), text)
    ]
    taken: set[int] = set()
    elements = []
    for j, (kind, opening, _, end) in enumerate(tags):
        if opening:
            continue
        for i in range(j - 1, -1, -1):
            crosses = any(s < tags[i][2] < e <= tags[j][2] for _, s, e in elements)
            if tags[i][:2] == (kind, True) and i not in taken and not crosses:
                inside = [k for k in range(i + 1, j) if tags[k][1]]
                taken.update([i, *inside])
                elements.append((kind, tags[i][2], end))
                break
    return elements


def answer_by_definition(text: str) -> str | None:
    elements = elements_by_definition(text)
    best: tuple[int, str] | None = None
    for kind, start, end in elements:
        if kind != "answer":
            continue
        enclosed = any(k != "answer" and s < start and end <= e for k, s, e in elements)
        before = text[:start]
        swallowed = any(before.rfind(f"<{k}>") > before.rfind(f"</{k}>") for k in ("think", "tool", "info"))
        if not enclosed and not swallowed and (best is None or start > best[0]):
            best = (start, text[start + len("<answer>") : end - len("</answer>")].strip())
    return best[1] if best else None


@given(tag_soup)
@example("<think>a<answer>x</answer></think>")
@example("<think>a<think>b</think><answer>x</answer></think>")
@example("<answer>a<answer>b</answer></answer>")
@example("<answer>x<think>a</answer></think>")
def test_the_answer_that_counts_is_the_last_one_that_nothing_else_encloses(text: str) -> None:
    assert parse_turn(text, OPERATORS).answer_text == answer_by_definition(text)


@given(tag_soup, st.sampled_from(["think", "tool", "info"]))
def test_an_answer_wrapped_in_another_element_never_counts(text: str, kind: str) -> None:
    inside = "".join(re.split(f"</?{kind}>", text))
    assert parse_turn(f"<{kind}>{inside}<answer>x</answer></{kind}>", OPERATORS).answer_text is None
