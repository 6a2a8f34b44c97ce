"""The paper's interface: after a thought, one operator call or the answer, in natural language between tags."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.env.interfaces.base import Call, Execution, Signature
from harness.operators import OPERATORS
from harness.operators.specs.warning import warning
from harness.protocol import XML, Grammar, Kind, parse_turn, render_observation, warning_text, with_failure
from harness.types import ActionKind, ParsedTurn, ParseFailure


@dataclass(frozen=True)
class NaturalInterface:
    """`grammar` is the syntax of a turn (`harness.protocol.GRAMMARS`); `compact`: the operators' short call forms, and
    warnings of few tokens.

    Keeps nothing between turns.
    """

    grammar: Grammar = XML
    compact: bool = False
    name: str = "natural"

    def parse(self, text: str, operators: Collection[str], *, truncated: bool = False) -> ParsedTurn:
        bare = [name for name in operators if name in OPERATORS and OPERATORS[name].bare] if self.compact else ()
        return parse_turn(text, operators, truncated=truncated, grammar=self.grammar, bare=bare)

    def usage(self, operator: Signature) -> str:
        return operator.name

    def describe(self, operator: Signature) -> str:
        name, _, text = operator.example.partition(": ")
        example = self.grammar.element(Kind.TOOL, text, name)
        return f"- {operator.name}: {operator.summary}. Input: {operator.input_format}. Example: {example}"

    def start(self, operators: Sequence[Signature]) -> NaturalInterface:
        return self

    def observation(self, text: str, *, trusted: bool = False) -> str:
        return render_observation(text, grammar=self.grammar, trusted=trusted)

    def warning(self, parsed: ParsedTurn) -> str:
        return warning_text(parsed.failures, grammar=self.grammar, compact=self.compact)

    def turn(self, think: str, call: str) -> str:
        name, _, text = call.partition(": ")
        return self.grammar.render(think, Kind.TOOL, text, name)

    def answer(self, think: str, text: str) -> str:
        return self.grammar.render(think, Kind.ANSWER, text)

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
            return Execution(refused, warning(self.warning(refused)))
        result = await call(action.operator, action.text)
        return Execution(parsed, result, (result,))
