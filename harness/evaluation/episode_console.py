"""Live display of an episode: thoughts, calls, observations, answer, parse results and reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.credit.unit_credit import Z95, UnitCredit
from harness.env.diagnostics import operators_called
from harness.protocol.observation import FAILURE_TEXTS
from harness.types import ActionKind, OperatorResult, ParsedTurn, Trajectory, Turn
from harness.types.redact import printable

LABEL_WIDTH = 20  # the longest operator's name fits
_THINK, _CALL, _READ, _ANSWER = "italic cyan", "yellow", "white", "bold green"
_GOOD, _BAD, _FAINT = "green", "red", "dim"


@dataclass
class EpisodeConsole:
    """Prints one episode: the question, then `policy_turn` and `environment_turn` in alternation, then the outcome."""

    console: Console
    turns: int = 0

    def question(self, text: str, facts: Sequence[tuple[str, str]]) -> None:
        self._line("question", text, "bold")
        for label, fact in facts:
            self._line(label, fact, _FAINT)

    def note(self, label: str, text: str) -> None:
        self._line(label, text, _FAINT)

    def policy_turn(self, parsed: ParsedTurn) -> None:
        """The policy's output by its parts, or as a whole where none was parsed."""
        self.turns += 1
        self.console.print()
        self.console.print(Text(f"turn {self.turns}", _FAINT))
        think, action = parsed.think, parsed.action
        if think is not None:
            self._line("think", _inside(parsed.text[think.start : think.end]), _THINK)
        if action is None:
            rest = parsed.text[think.end :] if think is not None else parsed.text
            self._line("wrote", rest.strip() or "(nothing)", _BAD)
        elif action.kind is ActionKind.ANSWER:
            self._line("answer", action.text, _ANSWER)
        else:
            self._line(action.operator or action.kind.value, action.text, _CALL)

    def environment_turn(self, turn: Turn) -> None:
        """Calls, observation, faults and the parse result of a turn."""
        for call in turn.program_calls:
            self._line(call.operator, f"{call.asked} → {call.text}", _CALL)
        if turn.result is not None:
            self._observation(turn.result)
        for fault in turn.faults:
            self._line("fault", f"{fault.kind}; true result: {fault.true_text}", _BAD)
        if turn.parsed.well_formed:
            self._line("parse", "well formed", _GOOD)
        else:
            reasons = "; ".join(f"{f.value}: {FAILURE_TEXTS[f]}" for f in turn.parsed.failures)
            self._line("parse", reasons, _BAD)

    def outcome(self, episode: Trajectory, gold: Sequence[str], seconds: float) -> None:
        """Answer, reward where a gold answer is known, and the cost of the episode."""
        self.console.print()
        reward = episode.reward
        if reward.answer is None:
            self._line("answer", f"none ({episode.stop.value.replace('_', ' ')})", _BAD)
        elif gold:
            self._line("answer", reward.answer, _ANSWER if reward.em else _BAD)
        else:
            self._line("answer", reward.answer, "bold")
        if gold:
            parts = f"{reward.total:+.2f} = outcome {reward.outcome:+.2f}, format {reward.format:+.2f}"
            price = reward.outcome + reward.format - reward.total
            if price > 1e-9:
                parts += f", calls {-price:+.2f}"
            scores = f"EM {reward.em:.0f}, F1 {reward.f1:.2f}, lenient {reward.lenient:.0f}"
            self._line("reward", f"{parts}; {scores}", _GOOD if reward.em else _BAD)
            self._line("gold", " | ".join(gold), _FAINT)
        else:
            self._line("reward", "none: no gold answer is known (give one with --gold)", _FAINT)
        calls = sum(len(operators_called(t)) for t in episode.turns)
        tokens = f"{episode.n_policy_tokens} sampled tokens"
        self._line("cost", f"{len(episode.turns)} turns, {calls} calls, {tokens}, {seconds:.1f} s", _FAINT)

    def values(self, credit: UnitCredit, about: str) -> None:
        """Value before and after every turn and the turn's credit, each with a 95 % interval."""
        self.console.print()
        self._line("values", about, _FAINT)
        for k, change in enumerate(credit.credit):
            before, after = (f"{credit.values[i]:+.2f} ± {Z95 * credit.value_errors[i]:.2f}" for i in (k, k + 1))
            style = _GOOD if change >= 0 else _BAD
            self._line(
                f"turn {k + 1}", f"{before} → {after}, credit {change:+.2f} ± {Z95 * credit.errors[k]:.2f}", style
            )

    def _observation(self, result: OperatorResult) -> None:
        style = _READ if result.failure is None else _BAD
        self._line("observation", result.text, style)
        if result.failure is not None:
            self._line("failure", f"{result.operator}: {result.failure.value}", _BAD)

    def _line(self, label: str, text: str, style: str) -> None:
        body = printable(text)
        if not self.console.is_terminal:
            self.console.print(f"{label:<{LABEL_WIDTH}}{body}", markup=False, highlight=False, soft_wrap=True)
            return
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=LABEL_WIDTH - 1, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(Text(label, _FAINT), Text(body, style))
        self.console.print(grid)


def _inside(element: str) -> str:
    """The text of an element without its tags."""
    body = element[element.find(">") + 1 :] if element.startswith("<") else element
    end = body.rfind("</")
    return (body[:end] if end >= 0 else body).strip()
