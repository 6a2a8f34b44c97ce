"""Parser of one turn: the action it may execute, and all its failures.

A turn is well formed if it is, white space aside, one non-empty think element and then exactly one action element.
Only a well-formed turn is executed; any other gets WarningOp's observation, and the episode continues.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from harness.protocol.grammar import Element, Grammar, Kind
from harness.protocol.tags import XML
from harness.types import Action, ActionKind, ParsedTurn, ParseFailure, Span

_OPERATOR_NAME = re.compile(r"\s*(\w+)\s*:")
_THINK, _ANSWER, _CODE = Kind.THINK, Kind.ANSWER, Kind.CODE


def parse_turn(
    text: str,
    operators: Collection[str],
    *,
    truncated: bool = False,
    grammar: Grammar = XML,
    bare: Collection[str] = (),
) -> ParsedTurn:
    """Parse a turn. Never raises on any text; linear time.

    Args:
        text: the turn without its end-of-turn token.
        operators: names that may be called, compared exactly.
        truncated: the end-of-turn token was never sampled.
        grammar: spelling of the elements.
        bare: names of operators that take no input.

    Returns:
        `action` is set exactly if the turn is well formed. `<answer></answer>` in an otherwise well-formed turn is
        executed, with text ""; a blank tool input is a failure (EMPTY_ACTION) unless the operator needs none.
        `failures` holds each failure once, ordered by first occurrence. `answer_text` is the last complete answer
        outside think, tool and info elements, malformed turn or not. `think` and `action_spans` are spans, in a
        malformed turn those of `Grammar.recover`.
    """
    reading = grammar.read(text)
    faults = reading.faults
    note = faults.setdefault  # elements come left to right, so the first note of a kind is the leftmost
    think: Element | None = None
    actions: list[Element] = []
    for element in reading.elements:
        if element.kind is _THINK:
            if think is None:
                think = element
            else:
                note(ParseFailure.MULTIPLE_THINKS, element.start)
            if element.closed and not element.content.strip():
                note(ParseFailure.EMPTY_THINK, element.start)
        elif element.kind in grammar.actions:
            if actions:
                note(ParseFailure.MULTIPLE_ACTIONS, element.start)
            actions.append(element)
            failure = _action_failure(element, operators, bare)
            if failure is not None:
                note(failure, element.start)

    if not actions:
        note(ParseFailure.MISSING_ACTION, len(text))
    if think is None:
        note(ParseFailure.MISSING_THINK, actions[0].start if actions else len(text))
    elif actions and actions[0].start < think.start:
        note(ParseFailure.WRONG_ORDER, actions[0].start)
    if truncated:
        note(ParseFailure.TRUNCATED_TURN, len(text))

    action = None if faults else _action(actions[0])
    if faults:
        elements = grammar.recover(text, reading, operators)
        think = next((e for e in elements if e.kind is _THINK), None)
        actions = [e for e in elements if e.kind in grammar.actions]
    return ParsedTurn(
        text=text,
        think=None if think is None else Span(think.start, think.end),
        action=action,
        failures=tuple(sorted(faults, key=faults.__getitem__)) if faults else (),
        answer_text=None if reading.answer is None else reading.answer.strip(),
        action_spans=tuple([Span(e.start, e.end) for e in actions]),
    )


def with_failure(parsed: ParsedTurn, failure: ParseFailure) -> ParsedTurn:
    """The turn with a failure that depends on the episode (OVER_BUDGET) appended, and without an action."""
    if failure in parsed.failures:
        return replace(parsed, action=None)
    return replace(parsed, action=None, failures=(*parsed.failures, failure))


def action_start_char(parsed: ParsedTurn) -> int:
    """Character offset of the action half of the unit: the first action's start, `len(parsed.text)` if there is none.

    The think half is all text before it. Malformed turns use the first action as recovered.
    """
    return parsed.action_spans[0].start if parsed.action_spans else len(parsed.text)


def split_call(content: str) -> tuple[str, str] | None:
    """`Name: input` as (name, stripped input); None unless it begins with one word and a colon."""
    match = _OPERATOR_NAME.match(content)
    return None if match is None else (match.group(1), content[match.end() :].strip())


def _call(element: Element) -> tuple[str, str] | None:
    """Operator and input of a tool element; None if it names no operator."""
    if element.operator is None:
        return split_call(element.content)
    return (element.operator, element.content.strip()) if element.operator else None


def _action_failure(element: Element, operators: Collection[str], bare: Collection[str]) -> ParseFailure | None:
    if element.kind is _ANSWER or not element.closed:
        return None
    if not (element.operator or element.content.strip()):
        return ParseFailure.EMPTY_ACTION
    if element.kind is _CODE:
        return None
    call = _call(element)
    if call is None:
        return ParseFailure.MISSING_OPERATOR_NAME
    name, argument = call
    if name not in operators:
        return ParseFailure.UNKNOWN_OPERATOR
    return None if argument or name in bare else ParseFailure.EMPTY_ACTION


def _action(element: Element) -> Action:
    span = Span(element.start, element.end)
    if element.kind is _ANSWER:
        return Action(ActionKind.ANSWER, element.content.strip(), span)
    if element.kind is _CODE:
        return Action(ActionKind.CODE, element.content.strip("\r\n"), span)
    call = _call(element)
    if call is None:
        raise AssertionError("only a call that names an operator is executed")
    return Action(ActionKind.TOOL, call[1], span, operator=call[0])
