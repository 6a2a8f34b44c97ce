"""Prices of a program's work follow the work, and what an episode keeps between turns is bounded."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import replace

import pytest

from harness.env.interfaces import CodeInterface
from harness.env.interfaces.base import Execution
from harness.env.interfaces.code.interface import CodeSession
from harness.env.interfaces.code.limits import Limits, Meter
from harness.env.interfaces.code.methods import METHODS
from harness.env.interfaces.code.values import equal, key_of, size_of
from harness.types import Action, ActionKind, OperatorFailure, OperatorResult, ParsedTurn, Span

INTERFACE = replace(CodeInterface(), clock=lambda: 0.0)
"""Its clock stands still: only steps end a program."""


async def _call(name: str, text: str) -> OperatorResult:
    return OperatorResult(name, "found")


def execute(session: CodeSession, source: str) -> Execution:
    action = Action(ActionKind.CODE, source, Span(0, len(source)))
    try:
        session.execute(ParsedTurn(source, Span(0, 0), action), _call, calls_left=1).send(None)
    except StopIteration as stop:
        done: Execution = stop.value
        return done
    raise AssertionError("it waited")


A, B = "'a' * 30000", "'b' + 'a' * 15000"
_LOOP = "\nfor i in range(5000):\n    a."
COSTLY = {
    "rfind": f"a = {A}\nb = {B}{_LOOP}rfind(b)",
    "rsplit": f"a = {A}\nb = {B}{_LOOP}rsplit(b)",
    "rindex": f"b = {B}\na = b + 'a' * 15000{_LOOP}rindex(b)",
    "strip": f"a = 'z' * 30000\nb = {B} + 'z'{_LOOP}strip(b)",
    "rstrip": f"a = 'z' * 30000\nb = {B} + 'z'{_LOOP}rstrip(b)",
    "lstrip": f"a = 'z' * 30000\nb = {B} + 'z'{_LOOP}lstrip(b)",
    "keys of one hash": "m = 2 ** 61 - 1\nd = {}\nfor i in range(5000):\n    d[m * i] = i",
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_work_ends_by_its_price_and_soon(name: str) -> None:
    before = time.process_time()
    done = execute(INTERFACE.start([]), COSTLY[name])
    assert done.result is not None
    assert "StepLimit" in done.result.text
    assert time.process_time() - before < 1.0


def spent(work: object) -> int:
    meter = Meter(Limits(steps=10**9), lambda: 0.0)
    work(meter)  # type: ignore[operator]
    return 10**9 - meter.left


@pytest.mark.parametrize("name", ["strip", "lstrip", "rstrip", "rfind", "rindex", "rsplit"])
def test_methods_of_two_lengths_cost_their_product(name: str) -> None:
    def price(n: int, m: int) -> int:
        return spent(lambda meter: METHODS[str][name](meter, "b" + "a" * n, "b" + "a" * m))

    assert price(40_000, 1_000) > 40_000 * 1_000 // 64
    assert price(4_000, 3) < 800  # ordinary use stays cheap


def test_comparing_dicts_costs_the_length_of_their_keys() -> None:
    one, other = {"k" * 40_000: 1}, {"".join(["k"] * 40_000): 1}
    assert spent(lambda meter: equal(one, other, meter)) > 40_000 // 16


def test_a_key_that_may_meet_every_other_one_costs_so() -> None:
    assert spent(lambda meter: key_of(2**61 - 1, meter)) > 300
    assert spent(lambda meter: key_of(1e300, meter)) > 300
    assert spent(lambda meter: key_of((1, 2.5, "a", None, True), meter)) < 20


def test_an_episode_keeps_no_more_than_its_bound() -> None:
    session = INTERFACE.start([])
    tracemalloc.start()
    try:
        for turn in range(30):
            execute(session, f"x{turn} = []\nfor i in range(15):\n    x{turn}.append('ä' * 45000 + str(i))")
            assert size_of(session.variables.values()) <= INTERFACE.limits.kept_chars
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_turn_that_leaves_too_much_is_an_error_and_clears_the_variables() -> None:
    session = INTERFACE.start([])
    fill = "{0} = []\nfor i in range(15):\n    {0}.append('a' * 45000 + str(i))\nprint(len({0}))"
    assert execute(session, fill.format("x")).result.text == "15"  # type: ignore[union-attr]
    assert execute(session, "z = [x] * 20\nprint(len(z))").result.text == "20"  # type: ignore[union-attr]
    done = execute(session, fill.format("y"))
    assert done.result is not None
    assert done.result.failure is OperatorFailure.PROGRAM_ERROR
    assert done.result.text.startswith("15\nError: SizeLimit: the variables held more than 1000000 characters")
    assert session.variables == {}
    assert execute(session, "x = 1\nprint(x)").result.text == "1"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "size"),
    [("abc", 3), (7, 0), (None, 0), (["ab", "cd"], 36), ({"k": ("v", 1)}, 50), ([["a"], ["b"]], 66), ([[]] * 3, 48)],
)
def test_sizes_are_counted_in_full(value: object, size: int) -> None:
    assert size_of([value]) == size
    assert size_of([value, value]) == size


def test_a_list_that_holds_itself_has_a_size() -> None:
    loop: list[object] = ["abc"]
    loop.append(loop)
    assert size_of([loop]) == 3 + 32
