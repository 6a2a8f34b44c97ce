"""The paper's interface: after a thought, one operator call or the answer, in natural language between tags."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.interfaces.base import Call, Execution, Signature
from harness.protocol import XML, Grammar, parse_turn, render_observation, warning_text, with_failure
from harness.types import ActionKind, OperatorResult, ParsedTurn, ParseFailure


@dataclass(frozen=True)
class NaturalInterface:
    """`grammar` is how a turn is spelled (`harness.protocol.GRAMMARS`). Keeps nothing between turns."""

    grammar: Grammar = XML
    name: str = "natural"

    def parse(self, text: str, operators: Collection[str], *, truncated: bool = False) -> ParsedTurn:
        return parse_turn(text, operators, truncated=truncated, grammar=self.grammar)

    def describe(self, operators: Sequence[Signature]) -> str:
        lines = [f"- {o.name}: {o.summary}. Input: {o.input_format}. Example: {o.example}" for o in operators]
        forms = [f"Form {i}: {form}" for i, form in enumerate(self.grammar.forms(), 1)]
        return "\n".join(["Operators:", *lines, "Every turn has exactly one of these forms and nothing else:", *forms])

    def start(self, operators: Sequence[Signature]) -> NaturalInterface:
        return self

    def observation(self, text: str, *, trusted: bool = False) -> str:
        return render_observation(text, grammar=self.grammar, trusted=trusted)

    def warning(self, parsed: ParsedTurn, operators: Collection[str]) -> str:
        return warning_text(parsed.failures, operators, self.grammar)

    async def execute(self, parsed: ParsedTurn, call: Call, calls_left: int) -> Execution:
        action = parsed.action
        if action is None:
            raise ValueError("a turn without an action cannot be executed")
        if action.kind is ActionKind.ANSWER:
            return Execution(parsed, None)
        if action.operator is None:
            raise ValueError(f"the natural interface executes calls and answers, not {action.kind}")
        if calls_left <= 0:
            refused = with_failure(parsed, ParseFailure.OVER_BUDGET)
            return Execution(refused, OperatorResult("WarningOp", self.warning(refused, ())))
        result = await call(action.operator, action.text)
        return Execution(parsed, result, (result,))
