"""The code interface: after a thought, a small Python program over the same operators.

`search("…")` runs an operator and gives its text, `print(…)` is what the policy reads, `answer(…)` ends the episode.
Variables persist from turn to turn. The program is interpreted by `evaluator.py`, never compiled or run.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.env.interfaces.base import Call, Execution, Signature
from harness.env.interfaces.code.evaluator import Evaluator
from harness.env.interfaces.code.expressions import Operator
from harness.env.interfaces.code.limits import Answered, CodeError, Limits, Meter
from harness.env.interfaces.code.program import read_program
from harness.env.interfaces.code.values import NUMBERS, Value, size_of, text_of, type_name
from harness.protocol import XML_CODE, Grammar, Kind, parse_turn, render_observation, warning_text
from harness.types import OperatorFailure, OperatorResult, ParsedTurn, ParseFailure

RESULT_NAME = "Code"
"""`OperatorResult.operator` of what a program printed."""

CODE_RULES = (
    "The code is a small part of Python: assignments, if, for, lists, dicts, slices, f-strings, comprehensions, and "
    "the usual functions and methods of texts and lists. No import, def, class, while or try. Variables are kept "
    "between turns. print(...) shows you a value; answer(...) gives the final answer and ends the episode."
)


@dataclass(frozen=True)
class CodeInterface:
    """`compact`: the operators' short call forms, and warnings of few tokens."""

    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    compact: bool = False
    name: str = "code"
    grammar: Grammar = XML_CODE

    def parse(self, text: str, operators: Collection[str], *, truncated: bool = False) -> ParsedTurn:
        return parse_turn(text, operators, truncated=truncated, grammar=XML_CODE)

    def usage(self, operator: Signature) -> str:
        return usage_of(operator, self.compact)

    def describe(self, operator: Signature) -> str:
        return f"- {usage_of(operator, self.compact)}: {operator.summary}"

    def start(self, operators: Sequence[Signature]) -> CodeSession:
        return CodeSession(self, operators)

    def observation(self, text: str, *, trusted: bool = False) -> str:
        return render_observation(text, grammar=XML_CODE, trusted=trusted)

    def warning(self, parsed: ParsedTurn) -> str:
        return warning_text(parsed.failures, grammar=XML_CODE, compact=self.compact)

    def turn(self, think: str, call: str) -> str:
        name, _, text = call.partition(": ")
        return XML_CODE.render(think, Kind.CODE, f"print({function_name(name)}({_arguments(text)}))")

    def answer(self, think: str, text: str) -> str:
        return XML_CODE.render(think, Kind.CODE, f"answer({_literal(text)})")


class CodeSession:
    """One episode: its variables."""

    def __init__(self, interface: CodeInterface, operators: Sequence[Signature]) -> None:
        self._interface = interface
        self._signatures = tuple(operators)
        self.variables: dict[str, Value] = {}

    async def execute(self, parsed: ParsedTurn, call: Call, calls_left: int) -> Execution:
        """Run the turn's program. Its error is what the policy reads, after what it printed before.

        A call for which no budget is left is not made, ends the program, and is OVER_BUDGET.
        """
        action = parsed.action
        if action is None:
            raise ValueError("a turn without an action cannot be executed")
        limits = self._interface.limits
        meter = Meter(limits, self._interface.clock)
        caller = _Caller(call, calls_left, meter)
        operators = {function_name(s.name): _operator(s, caller, self._interface.compact) for s in self._signatures}
        evaluator = Evaluator(self.variables, operators, meter)
        failure: OperatorFailure | None = None
        try:
            await evaluator.run(read_program(action.text, limits))
        except Answered as answered:
            text = _clean(answered.text).strip()
            return Execution(replace(parsed, answer_text=text), None, tuple(caller.results))
        except CodeError as error:
            failure = OperatorFailure.PROGRAM_ERROR
            where = f" in line {error.line}" if error.line else ""
            evaluator.output.append(f"Error{where}: {error.kind}: {error.message}")
        except RecursionError:  # the bounds on nesting leave room, unless the caller's own stack is nearly used up
            failure = OperatorFailure.PROGRAM_ERROR
            evaluator.output.append("Error: RecursionError: the program is nested too deeply")
        if size_of(self.variables.values()) > limits.kept_chars:
            self.variables.clear()
            failure = OperatorFailure.PROGRAM_ERROR
            text = f"the variables held more than {limits.kept_chars} characters together and were cleared"
            evaluator.output.append(f"Error: SizeLimit: {text}")
        if caller.refused:
            parsed = replace(parsed, failures=(*parsed.failures, ParseFailure.OVER_BUDGET))
        text = _clean("".join(evaluator.output)).strip("\n") or "(nothing was printed)"
        return Execution(parsed, _summed(text, caller.results, failure), tuple(caller.results))


class _Caller:
    """Calls of operators within the call budget, and their results."""

    def __init__(self, call: Call, calls_left: int, meter: Meter) -> None:
        self._call = call
        self._left = calls_left
        self._meter = meter
        self.results: list[OperatorResult] = []
        self.refused = False

    async def __call__(self, name: str, text: str) -> str:
        if self._left <= 0:
            self.refused = True
            raise CodeError("BudgetError", "no operator calls are left, only an answer is possible")
        self._left -= 1
        before = self._meter.clock()
        result = await self._call(name, text)
        self._meter.deadline += self._meter.clock() - before  # the program is not charged for the operator's time
        self.results.append(replace(result, asked=text))
        shown = result.text[: self._meter.limits.text_chars]
        self._meter.text(len(shown))
        return shown


def function_name(operator: str) -> str:
    """`AnswerGenerate` as `answer_generate`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operator).lower()


def fields_of(signature: Signature, compact: bool = False) -> list[str]:
    """A function's parameters: the inner tags of the operator's input, or `text`.

    Compact: those that a call may leave out come last.
    """
    fields = list(signature.tags) or ["text"]
    return sorted(fields, key=lambda name: name in signature.handles) if compact else fields


def usage_of(signature: Signature, compact: bool = False) -> str:
    """The form of a call, e.g. `sc_ensemble(query, solution=[..., ...])`: tags that occur twice take a list.

    Compact: without what it may leave out.
    """
    fields = [name for name in fields_of(signature, compact) if not (compact and name in signature.handles)]
    shown = [name if signature.tags.get(name, 1) < 2 else f"{name}=[..., ...]" for name in fields]
    return f"{function_name(signature.name)}({', '.join(shown)})"


def _operator(signature: Signature, caller: _Caller, compact: bool) -> Operator:
    async def run(args: Sequence[Value], named: Mapping[str, Value], meter: Meter) -> str:
        return await caller(signature.name, input_text(signature, args, named, meter, compact))

    return run


def input_text(
    signature: Signature, args: Sequence[Value], named: Mapping[str, Value], meter: Meter, compact: bool = False
) -> str:
    """An operator's input from a function's arguments, each in its inner tag; a list gives one element an item.

    A value cannot close its element early: tags of the operator inside values are neutralised. Arguments left out
    are left out of the input, and the operator's reply names them. Raises CodeError.
    """
    fields = fields_of(signature, compact)
    usage = usage_of(signature, compact)
    if len(args) > len(fields):
        raise CodeError("TypeError", f"too many arguments: {usage}")
    values = dict(zip(fields, args, strict=False))
    for name, value in named.items():
        if name not in fields or name in values:
            raise CodeError("TypeError", f"unknown or repeated argument {name[:80]!r}: {usage}")
        values[name] = value
    elements: list[str] = []
    for name in fields:
        value = values.get(name, [])
        for item in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(item, (str, *NUMBERS)):
                raise CodeError("TypeError", f"{name} must be text, not {type_name(item)}: {usage}")
            text = _clean(text_of(item, meter))
            meter.text(len(text))
            elements.append(f"<{name}>{_without_tags(text, fields)}</{name}>" if signature.tags else text)
    joined = sum(map(len, elements))
    meter.text(joined)
    return ("" if signature.tags else "\n").join(elements)


_INNER = re.compile(r"<([a-z]+)>(.*?)</\1>", re.DOTALL)


def _arguments(text: str) -> str:
    """An operator's input as a function's arguments: elements by name, or the plain text."""
    found: dict[str, list[str]] = {}
    for name, content in _INNER.findall(text):
        found.setdefault(name, []).append(_literal(content))
    if not found:
        return _literal(text) if text else ""
    return ", ".join(f"{n}={v[0]}" if len(v) == 1 else f"{n}=[{', '.join(v)}]" for n, v in found.items())


def _literal(text: str) -> str:
    """A Python text literal; double quotes, as a name more often holds an apostrophe."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _without_tags(text: str, names: Sequence[str]) -> str:
    return re.sub("|".join(f"</?{re.escape(name)}>" for name in names), lambda m: f"‹{m.group()[1:-1]}›", text)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _summed(text: str, results: Sequence[OperatorResult], failure: OperatorFailure | None) -> OperatorResult:
    """What the program printed, with the costs of all its calls (one after another, so latencies add).

    `failure` is the program's own, else that of the first call that failed.
    """
    return OperatorResult(
        operator=RESULT_NAME,
        text=text,
        failure=failure or next((r.failure for r in results if r.failure is not None), None),
        prompt_tokens=sum(r.prompt_tokens for r in results),
        completion_tokens=sum(r.completion_tokens for r in results),
        latency_s=sum(r.latency_s for r in results),
        cost_usd=sum(r.cost_usd for r in results),
        cached=bool(results) and all(r.cached for r in results),
        retries=sum(r.retries for r in results),
        fault=next((r.fault for r in results if r.fault is not None), None),
    )
