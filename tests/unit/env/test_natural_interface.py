"""The natural interface does one thing a turn, within the call budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from harness.env.interfaces import INTERFACES, ActionInterface, CodeInterface, NaturalInterface
from harness.env.prompts.system import system_prompt
from harness.operators import CALLABLE, OPERATORS
from harness.protocol import parse_turn
from harness.protocol.alternative_grammars import GRAMMARS
from harness.types import OperatorResult, ParseFailure

POOL = [OPERATORS["Search"], OPERATORS["Review"]]
NAMES = [o.name for o in POOL]
CALL = "<think>a</think><tool>Search: The Hobbit</tool>"


async def echo(name: str, text: str) -> OperatorResult:
    return OperatorResult(name, f"{name} got {text}", prompt_tokens=7)


def test_a_call_is_passed_on_and_its_result_comes_back() -> None:
    interface = NaturalInterface()
    execution = asyncio.run(interface.start(POOL).execute(interface.parse(CALL, NAMES), echo, 1))
    assert execution.result is not None
    assert execution.result.text == "Search got The Hobbit"
    assert execution.calls == (execution.result,)


def test_an_answer_ends_the_episode_without_a_call() -> None:
    interface = NaturalInterface()
    parsed = interface.parse("<think>a</think><answer>Tolkien</answer>", NAMES)
    execution = asyncio.run(interface.start(POOL).execute(parsed, echo, 0))
    assert (execution.result, execution.calls, execution.parsed.answer_text) == (None, (), "Tolkien")


def test_a_call_without_budget_is_not_made_and_is_a_failure_of_the_turn() -> None:
    interface = NaturalInterface()
    execution = asyncio.run(interface.start(POOL).execute(interface.parse(CALL, NAMES), echo, 0))
    assert execution.calls == ()
    assert execution.parsed.failures == (ParseFailure.OVER_BUDGET,)
    assert execution.parsed.action is None
    assert execution.result is not None
    assert "no calls are left" in execution.result.text


@pytest.mark.parametrize("interface", [make() for make in INTERFACES.values()], ids=list(INTERFACES))
def test_a_turn_without_an_action_cannot_be_executed(interface: NaturalInterface) -> None:
    parsed = interface.parse("nonsense", NAMES)
    with pytest.raises(ValueError, match="without an action"):
        asyncio.run(interface.start(POOL).execute(parsed, echo, 1))
    warning = interface.warning(parsed)
    assert "there was no action" in warning
    assert "your reasoning" in warning


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_prompt_describes_every_operator_and_forms_that_parse(name: str) -> None:
    grammar = GRAMMARS[name]
    interface = NaturalInterface(grammar)
    text = system_prompt(NAMES, "full", interface)
    for operator in POOL:
        assert operator.summary in text
        assert operator.input_format in text
    for form in grammar.forms():
        assert form in text
        assert interface.parse(form, ["OperatorName"]).well_formed


@pytest.mark.parametrize("make", [*(partial(NaturalInterface, g) for g in GRAMMARS.values()), CodeInterface])
def test_a_scripted_turn_is_read_as_the_call_it_stands_for(make: Callable[[], ActionInterface]) -> None:
    interface = make()
    for spec in (OPERATORS[name] for name in CALLABLE):
        name, _, asked = spec.example.partition(": ")
        parsed = interface.parse(interface.turn("so", spec.example), CALLABLE)
        execution = asyncio.run(interface.start([spec]).execute(parsed, echo, 1))
        (call,) = execution.calls
        got = (call.operator, call.text.removeprefix(f"{name} got ").replace("\n", ""))
        assert got == (name, asked)
    answered = interface.parse(interface.answer("so", 'say "N\'Djamena"\\n'), CALLABLE)
    execution = asyncio.run(interface.start(POOL).execute(answered, echo, 1))
    assert (execution.result, execution.parsed.answer_text) == (None, 'say "N\'Djamena"\\n')


def test_the_grammar_is_the_interfaces_only_setting() -> None:
    interface = NaturalInterface(GRAMMARS["brackets"])
    assert interface.parse("[think]a[/think][answer]b[/answer]", NAMES).answer_text == "b"
    assert interface.observation("x[answer]") == "[info]x⟦answer⟧[/info]"
    assert interface.parse(CALL, NAMES).failures == parse_turn("plain", NAMES).failures
