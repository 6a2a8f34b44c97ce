"""Every grammar parses its own renderings, reports the same failures, and never raises."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.protocol import (
    GRAMMARS,
    XML,
    XML_CODE,
    neutralise,
    parse_turn,
    render_observation,
    short_forms,
    warning_text,
)
from harness.protocol.grammar import Grammar, Kind
from harness.types import ActionKind, ParsedTurn, ParseFailure

F = ParseFailure
OPERATORS = ("Search", "Review")
JSON, MARKDOWN, BRACKETS = GRAMMARS["json"], GRAMMARS["markdown"], GRAMMARS["brackets"]
EVERY = [*GRAMMARS.values(), XML_CODE]
by_grammar = pytest.mark.parametrize("grammar", EVERY, ids=[g.name for g in EVERY])

# Text that holds no delimiter of any grammar but JSON, whose strings escape theirs.
plain = st.text(max_size=30).filter(lambda s: not re.search(r"[<>\[\]#\r]", s)).map(str.strip).filter(bool)
fragments = [
    *XML.tags[Kind.THINK], *XML.tags[Kind.ANSWER], "[think]", "[/think]", "[tool]", "[/tool]", "[answer]", "[/answer]",
    "[info]", "### Think\n", "\n### Tool\n", "\n### Answer\n", "\n### Info\n", "###",
    '{"think": "a", ', '"answer": "b"}',
    '"tool": "Search", ', '"input": "x"}', '"info": ""', '{', '}', '[', ']', '"', "\\", ",", ":", "null", "12",
    "a", " ", "\n",
]  # fmt: skip
soup = st.lists(st.sampled_from(fragments), max_size=12).map("".join)


def rendered(grammar: Grammar, think: str, kind: Kind, content: str) -> ParsedTurn:
    return parse_turn(grammar.render(think, kind, content, "Search"), OPERATORS, grammar=grammar)


@by_grammar
@given(plain, plain)
def test_a_rendered_turn_parses_to_what_was_rendered(grammar: Grammar, think: str, content: str) -> None:
    for kind in grammar.actions:
        parsed = rendered(grammar, think, kind, content)
        assert parsed.failures == ()
        assert parsed.action is not None
        assert parsed.action.kind == ActionKind(kind)
        assert parsed.action.text.strip() == content
        assert parsed.action.operator == ("Search" if kind is Kind.TOOL else None)
        assert parsed.answer_text == (content if kind is Kind.ANSWER else None)
        assert parsed.think is not None
        assert parsed.think.end <= parsed.action.span.start


@by_grammar
@given(st.one_of(soup, st.text()), st.booleans())
def test_no_text_raises_and_spans_stay_inside_it(grammar: Grammar, text: str, truncated: bool) -> None:
    parsed = parse_turn(text, OPERATORS, grammar=grammar, truncated=truncated)
    assert (parsed.action is None) == bool(parsed.failures)
    assert len(set(parsed.failures)) == len(parsed.failures)
    for span in [*parsed.action_spans, *([parsed.think] if parsed.think else [])]:
        assert 0 <= span.start <= span.end <= len(text)


@by_grammar
@given(st.one_of(soup, st.text()))
def test_an_observation_holds_nothing_of_the_policys(grammar: Grammar, text: str) -> None:
    parsed = parse_turn(render_observation(text, grammar=grammar), OPERATORS, grammar=grammar)
    assert parsed.answer_text is None
    assert parsed.think is None
    assert parsed.action_spans == ()
    assert len(neutralise(text, grammar)) == len(text)


@by_grammar
def test_the_forms_in_a_warning_are_well_formed(grammar: Grammar) -> None:
    warning = warning_text([F.STRAY_TEXT], grammar=grammar, compact=True)
    forms = short_forms(grammar).split(" or ")
    assert len(grammar.forms()) == len(forms) == len(grammar.actions)
    for form in forms:
        assert form in warning
        assert parse_turn(form, ["Name"], grammar=grammar).failures == ()
    for form in grammar.forms():
        for kind in grammar.actions:
            hint = {Kind.TOOL: "input", Kind.ANSWER: "final answer", Kind.CODE: "your Python code"}[kind]
            assert hint in warning_text([], grammar=grammar)
        assert parse_turn(form, ["OperatorName"], grammar=grammar).failures == ()


def test_grammars_are_registered_under_their_names() -> None:
    assert [(name, g.name) for name, g in GRAMMARS.items()] == [(n, n) for n in ("xml", "brackets", "markdown", "json")]


@given(st.lists(st.sampled_from([t for pair in XML.tags.values() for t in pair] + ["a", " ", "Search: "]), max_size=12))
def test_brackets_are_xml_with_other_brackets(parts: list[str]) -> None:
    in_xml = parse_turn("".join(parts), OPERATORS)
    in_brackets = parse_turn("".join(parts).replace("<", "[").replace(">", "]"), OPERATORS, grammar=BRACKETS)
    assert in_xml.failures == in_brackets.failures
    assert in_xml.action_spans == in_brackets.action_spans


MARKDOWN_CASES = [
    ("### Think\na\n### Tool\nSearch: x", (), None),
    ("### Think\na\n\n### Answer\nb\nc\n", (), "b\nc"),
    ("### Think  \na\n### Answer\n", (), ""),
    ("Sure.\n### Think\na\n### Answer\nb", (F.STRAY_TEXT,), "b"),
    ("### Answer\nb", (F.MISSING_THINK,), "b"),
    ("### Think\n\n### Answer\nb", (F.EMPTY_THINK,), "b"),
    ("### Think\na", (F.MISSING_ACTION,), None),
    ("### Think\na\n### Tool\n", (F.EMPTY_ACTION,), None),
    ("### Think\na\n### Tool\nx", (F.MISSING_OPERATOR_NAME,), None),
    ("### Think\na\n### Tool\nGoogle: x", (F.UNKNOWN_OPERATOR,), None),
    ("### Think\na\n### Think\nb\n### Answer\nc", (F.MULTIPLE_THINKS,), "c"),
    ("### Think\na\n### Tool\nSearch: x\n### Answer\nc", (F.MULTIPLE_ACTIONS,), "c"),
    ("### Answer\nc\n### Think\na", (F.WRONG_ORDER,), "c"),
    ("### Think\na\n### Tool\nSearch: x\n### Info\ny", (F.FORGED_INFO,), None),
    ("### think\na\n### Answer\nb", (F.STRAY_TEXT, F.MISSING_THINK), "b"),
    ("### Think about it\na\n### Answer\nb", (F.STRAY_TEXT, F.MISSING_THINK), "b"),
    ("a ### Think\n### Answer\nb", (F.STRAY_TEXT, F.MISSING_THINK), "b"),
]

JSON_CASES = [
    ('{"think": "a", "tool": "Search", "input": "x"}', (), None),
    ('{"think": "a", "answer": "b"}', (), "b"),
    ('{"think": "a", "answer": ""}', (), ""),
    ('{"think": "a", "input": "x", "tool": "Search"}', (), None),
    ('{"think": "a\nb", "answer": "\\"q\\" \\u00e9"}', (), '"q" é'),
    ('{"think": "<answer>x</answer>", "tool": "Search", "input": "{}"}', (), None),
    ('{"answer": "b"}', (F.MISSING_THINK,), "b"),
    ('{"think": " ", "answer": "b"}', (F.EMPTY_THINK,), "b"),
    ('{"think": "a"}', (F.MISSING_ACTION,), None),
    ('{"think": "a", "tool": "Search"}', (F.EMPTY_ACTION,), None),
    ('{"think": "a", "tool": "", "input": ""}', (F.EMPTY_ACTION,), None),
    ('{"think": "a", "input": "x"}', (F.MISSING_OPERATOR_NAME,), None),
    ('{"think": "a", "tool": "Google", "input": "x"}', (F.UNKNOWN_OPERATOR,), None),
    ('{"think": "a", "tool": "Search: x", "input": "x"}', (F.UNKNOWN_OPERATOR,), None),
    ('{"think": "a", "think": "b", "answer": "c"}', (F.MULTIPLE_THINKS,), "c"),
    ('{"think": "a", "answer": "b", "answer": "c"}', (F.MULTIPLE_ACTIONS,), "c"),
    ('{"think": "a", "tool": "Search", "input": "x", "tool": "Search", "input": "y"}', (F.MULTIPLE_ACTIONS,), None),
    ('{"answer": "b", "think": "a"}', (F.WRONG_ORDER,), "b"),
    ('{"think": "a", "answer": "b"', (F.UNCLOSED_TAG,), "b"),
    ('{"think": "a", "answer": "b', (F.UNCLOSED_TAG,), None),
    ('{"think": "a", "answer": "b\\"}', (F.UNCLOSED_TAG,), None),
    ('{"think": "a", "answer": "b"}}', (F.UNOPENED_TAG,), "b"),
    ('{"think": "a", "answer": {"answer": "b"}}', (F.NESTED_TAG, F.MISSING_ACTION), None),
    ('{"think": "a", "answer": ["b"]}', (F.NESTED_TAG, F.MISSING_ACTION), None),
    ('Sure: {"think": "a", "answer": "b"}', (F.STRAY_TEXT,), "b"),
    ('```json\n{"think": "a", "answer": "b"}\n```', (F.STRAY_TEXT,), "b"),
    ('{"think": "a", "answer": "b",}', (F.STRAY_TEXT,), "b"),
    ('{"think": "a" "answer": "b"}', (F.STRAY_TEXT,), "b"),
    ('{"think": "a", "mood": "b", "answer": "c"}', (F.STRAY_TEXT,), "c"),
    ('{"think": "a", "answer": 42}', (F.STRAY_TEXT, F.MISSING_ACTION), None),
    ('{"think": "a", "answer": "\\q"}', (F.STRAY_TEXT,), "\\q"),
    ("{'think': 'a', 'answer': 'b'}", (F.STRAY_TEXT, F.MISSING_ACTION, F.MISSING_THINK), None),
    ('{"think": "a", "tool": "Search", "input": "x", "info": "y"}', (F.FORGED_INFO,), None),
    ('[{"think": "a", "answer": "b"}]', (F.STRAY_TEXT,), "b"),
]


@pytest.mark.parametrize(
    ("grammar", "text", "failures", "answer"),
    [(MARKDOWN, *case) for case in MARKDOWN_CASES] + [(JSON, *case) for case in JSON_CASES],
)
def test_failures_of_headings_and_json(
    grammar: Grammar, text: str, failures: tuple[ParseFailure, ...], answer: str | None
) -> None:
    parsed = parse_turn(text, OPERATORS, grammar=grammar)
    assert parsed.failures == failures
    assert parsed.answer_text == answer


def accepted_by_json(text: str) -> bool:
    """The definition: one object of non-repeated string members, think first, then a call or an answer."""
    try:
        pairs = json.loads(text, strict=False, object_pairs_hook=lambda items: items)
    except ValueError:
        return False
    if not isinstance(pairs, list) or not all(isinstance(p, tuple) and isinstance(p[1], str) for p in pairs):
        return False
    keys = [key for key, _ in pairs]
    values = dict(pairs)
    if keys == ["think", "answer"]:
        return bool(values["think"].strip())
    if sorted(keys) != ["input", "think", "tool"] or keys[0] != "think":
        return False
    return bool(values["think"].strip() and values["input"].strip()) and values["tool"].strip() in OPERATORS


json_soup = st.lists(
    st.sampled_from([
        "{", "}", "{", "}", '"think"', '"tool"', '"input"', '"answer"', '"info"', ":", ": ", ",", ", ", '"Search"',
        '"x"', '""', '"a b"', "[", "]", "1", " ", "\n", '"\\n"', '"\\x"', '{"think": "a", ', '"answer": "b"}',
        '"tool": "Search", ', '"input": "x"}',
    ]),
    max_size=14,
).map("".join)  # fmt: skip


@given(json_soup)
@example('{"think": "a", "answer": "b"}')
@example("[]")
@example("{}")
def test_a_json_turn_is_executed_exactly_when_a_json_parser_accepts_it(text: str) -> None:
    assert (parse_turn(text, OPERATORS, grammar=JSON).action is not None) == accepted_by_json(text)


@given(
    st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(st.sampled_from(["think", "answer", "x"]), inner))
)
def test_any_json_value_is_accepted_exactly_when_the_definition_says(value: object) -> None:
    text = json.dumps(value)
    assert (parse_turn(text, OPERATORS, grammar=JSON).action is not None) == accepted_by_json(text)


def test_an_escaped_lone_surrogate_never_leaves_the_parser() -> None:
    parsed = parse_turn('{"think": "a", "answer": "\\ud800"}', OPERATORS, grammar=JSON)
    assert parsed.answer_text is not None
    parsed.answer_text.encode()
