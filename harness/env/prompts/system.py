"""The instruction that opens an episode, in two styles: full for real models, compact for the tiny policy.

A prompt is made of parts, so that perturbations can change one and leave the others; text exists only when rendered.
The operators' text comes from their specifications: what is documented is what can be called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.env.interfaces import ActionInterface
from harness.env.interfaces.code.interface import CODE_RULES
from harness.operators import OPERATORS, OperatorSpec, Style, resolve_pool
from harness.protocol import XML, XML_CODE, short_forms


@dataclass(frozen=True, slots=True)
class Wording:
    """The prose of a prompt. `task` and `manner` open it, `heading` stands over the operators, `rule` over the forms,
    `closing` ends it; the compact style uses `compact`, which stands before the operators."""

    task: str
    manner: str
    heading: str
    rule: str
    closing: str
    compact: str


Wordings = Mapping[str, Wording]
"""By the interface's name."""

_TASK = "You answer a question by building a workflow, one step a turn."
_CLOSING = "The final answer is as short as possible: a name, a number, a date, yes or no."

STANDARD: Wordings = {
    "natural": Wording(
        _TASK,
        "In every turn, first think, then take\n"
        "exactly one action: call one operator, or give the final answer. After a call you read its result and go on.",
        "Operators:",
        "Every turn has one of these two forms and nothing else:",
        _CLOSING,
        "Operators: ",
    ),
    "code": Wording(
        _TASK,
        "In every turn, first think, then write\n"
        "a small program: it calls operators, and prints what you want to read or gives the final answer. After a "
        "program\nyou read what it printed and go on.",
        "Operators, as functions:",
        "Every turn has this form and nothing else:",
        _CLOSING,
        "Functions: ",
    ),
}

Piece = tuple[str, bool]
"""Text, and whether it is prose (what is not: operators, forms, examples)."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The opening of an episode. `constraints` false leaves out all that limits the policy's form; `example` is a
    worked episode, `aside` text before the question; `spell` rewrites prose."""

    interface: ActionInterface
    style: Style
    operators: tuple[OperatorSpec, ...]
    wordings: Wordings = field(default_factory=lambda: STANDARD)
    constraints: bool = True
    example: str | None = None
    aside: str = ""
    spell: Callable[[str], str] | None = None

    def messages(self, question: str) -> tuple[str, str]:
        """The system and the user message."""
        system = "".join(self._spelt(text) if prose else text for text, prose in self._system())
        return system, self._spelt(f"{self.aside}{question}")

    def _spelt(self, text: str) -> str:
        return self.spell(text) if self.spell else text

    def _system(self) -> list[Piece]:
        wording = self.wordings[self.interface.name]
        return self._compact(wording) if self.style == "compact" else self._full(wording)

    def _compact(self, wording: Wording) -> list[Piece]:
        """Names only; the forms too where they differ from those the policy learnt."""
        names = ", ".join(self.interface.usage(spec) for spec in self.operators)
        pieces = [(wording.compact, True)] if self.constraints else []
        pieces.append((names, False))
        if self.interface.grammar not in (XML, XML_CODE):
            pieces += [("\nForms: ", True), (short_forms(self.interface.grammar), False)]
        if self.example:
            pieces += [("\nExample:\n", True), (self.example, False)]
        return pieces

    def _full(self, wording: Wording) -> list[Piece]:
        documented = "\n".join(self.interface.describe(spec) for spec in self.operators)
        manner = f" {wording.manner}" if self.constraints else ""
        pieces = [(f"{wording.task}{manner}\n\n{wording.heading}\n", True), (documented, False)]
        if self.interface.name == "code":
            pieces.append((f"\n\n{CODE_RULES}", False))
        if self.constraints:
            pieces += [(f"\n\n{wording.rule}\n", True), ("\n".join(self.interface.grammar.forms()), False)]
        if self.example:
            pieces += [("\n\nExample:\n", True), (self.example, False)]
        if self.constraints:
            pieces.append((f"\n\n{wording.closing}", True))
        return pieces


def standard_prompt(pool: str | Sequence[str], style: Style, interface: ActionInterface) -> Prompt:
    """The prompt as it is without perturbation. Raises ValueError for a bad pool."""
    return Prompt(interface, style, tuple(OPERATORS[name] for name in resolve_pool(pool)))


def system_prompt(pool: str | Sequence[str], style: Style, interface: ActionInterface) -> str:
    """The system message of the standard prompt."""
    return standard_prompt(pool, style, interface).messages("")[0]
