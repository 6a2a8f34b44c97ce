"""Read one turn of the policy: what it may do, and everything that is wrong with it.

A turn is well formed when it is, white space aside, one non-empty think element and then exactly one action element.
Only a well-formed turn is executed; every other turn is answered by WarningOp and the episode goes on.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from harness.protocol.scanner import XML, Element, Grammar, Kind
from harness.types import Action, ActionKind, ParsedTurn, ParseFailure, Span

_OPERATOR_NAME = re.compile(r"\s*(\w+)\s*:")
_ACTION_KIND = {Kind.TOOL: ActionKind.TOOL, Kind.ANSWER: ActionKind.ANSWER, Kind.CODE: ActionKind.CODE}


def parse_turn(text: str, operators: Collection[str], *, truncated: bool = False, grammar: Grammar = XML) -> ParsedTurn:
    """Parse a turn. Never raises on any text; linear time.

    `text` is the turn without its end-of-turn token; `truncated` says that token was never sampled. `operators` are
    the names that may be called, compared exactly. In the result:

    - `action` is set exactly when the turn is well formed, so may be executed. `<answer></answer>` in an otherwise
      well-formed turn is executed, with text "". A blank tool input is a failure (EMPTY_ACTION).
    - `failures` holds each kind that applies once, ordered by where it first occurs.
    - `answer_text` is the last complete answer that lies in no think, tool or info element, malformed turn or not.
    - `think` and `action_spans` are the elements as recovered, malformed turn or not.
    """
    reading = grammar.read(text)
    faults = reading.faults
    thinks = [e for e in reading.elements if e.kind is Kind.THINK]
    actions = [e for e in reading.elements if e.kind in grammar.actions]

    def note(failure: ParseFailure, at: int) -> None:
        faults[failure] = min(at, faults.get(failure, at))

    if not thinks:
        note(ParseFailure.MISSING_THINK, actions[0].start if actions else len(text))
    elif actions and actions[0].start < thinks[0].start:
        note(ParseFailure.WRONG_ORDER, actions[0].start)
    if len(thinks) > 1:
        note(ParseFailure.MULTIPLE_THINKS, thinks[1].start)
    if not actions:
        note(ParseFailure.MISSING_ACTION, len(text))
    elif len(actions) > 1:
        note(ParseFailure.MULTIPLE_ACTIONS, actions[1].start)
    for think in thinks:
        if think.closed and not think.content.strip():
            note(ParseFailure.EMPTY_THINK, think.start)
    for element in actions:
        failure = _action_failure(element, operators)
        if failure is not None:
            note(failure, element.start)
    if truncated:
        note(ParseFailure.TRUNCATED_TURN, len(text))

    return ParsedTurn(
        text=text,
        think=Span(thinks[0].start, thinks[0].end) if thinks else None,
        action=None if faults else _action(actions[0]),
        failures=tuple(sorted(faults, key=faults.__getitem__)),
        answer_text=None if reading.answer is None else reading.answer.strip(),
        action_spans=tuple(Span(e.start, e.end) for e in actions),
    )


def with_failure(parsed: ParsedTurn, failure: ParseFailure) -> ParsedTurn:
    """The turn with a failure only its surroundings show (OVER_BUDGET): added last, and nothing may be executed."""
    if failure in parsed.failures:
        return replace(parsed, action=None)
    return replace(parsed, action=None, failures=(*parsed.failures, failure))


def action_start_char(parsed: ParsedTurn) -> int:
    """Character offset where the action half of the unit begins; `len(parsed.text)` if it has no action.

    The think half is everything before. Malformed turns use the first action as recovered.
    """
    return parsed.action_spans[0].start if parsed.action_spans else len(parsed.text)


def split_call(content: str) -> tuple[str, str] | None:
    """`Name: input` as (name, stripped input); None where no single word stands before a colon."""
    match = _OPERATOR_NAME.match(content)
    return None if match is None else (match.group(1), content[match.end() :].strip())


def _action_failure(element: Element, operators: Collection[str]) -> ParseFailure | None:
    if element.kind is Kind.ANSWER or not element.closed:
        return None
    if not element.content.strip():
        return ParseFailure.EMPTY_ACTION
    if element.kind is Kind.CODE:
        return None
    call = split_call(element.content)
    if call is None:
        return ParseFailure.MISSING_OPERATOR_NAME
    name, argument = call
    if name not in operators:
        return ParseFailure.UNKNOWN_OPERATOR
    return None if argument else ParseFailure.EMPTY_ACTION


def _action(element: Element) -> Action:
    span = Span(element.start, element.end)
    kind = _ACTION_KIND[element.kind]
    call = split_call(element.content) if kind is ActionKind.TOOL else None
    if call is not None:
        return Action(kind, call[1], span, operator=call[0])
    return Action(kind, element.content.strip("\r\n") if kind is ActionKind.CODE else element.content.strip(), span)
