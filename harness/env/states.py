"""States: an episode after some of its turns, as a value from which it can be continued.

Invariant: a state is its question, its prompt and its turns. What an interface keeps between turns (a program's
variables), the calls spent and what operators look back on are functions of these, and are restored by replaying the
turns with their recorded results (`harness.env.rollout.resume`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from harness.operators.base import CallContext
from harness.types import ActionKind, OperatorResult, Question, Trajectory, Turn


@dataclass(frozen=True, slots=True)
class State:
    """The episode of `question` that took `turns` and has not ended. Raises ValueError where the last turn ended it."""

    question: Question
    prompt_tokens: tuple[int, ...]
    turns: tuple[Turn, ...] = ()

    def __post_init__(self) -> None:
        if self.turns and not self.turns[-1].observation_tokens:
            raise ValueError(f"the episode of question {self.question.id!r} ended with turn {len(self.turns) - 1}")

    @classmethod
    def of(cls, trajectory: Trajectory, turns: int) -> State:
        """The state before turn `turns` of an episode, 0 for the first. Raises ValueError outside its turns."""
        if not 0 <= turns < len(trajectory.turns):
            raise ValueError(f"an episode of {len(trajectory.turns)} turns has no state before turn {turns}")
        return cls(trajectory.question, trajectory.prompt_tokens, trajectory.turns[:turns])

    @property
    def context(self) -> tuple[int, ...]:
        """Every token so far, prompt included."""
        return self.prompt_tokens + tuple(t for turn in self.turns for t in (*turn.tokens, *turn.observation_tokens))

    @property
    def calls(self) -> int:
        """Operator calls made, as counted against the call budget."""
        return sum(len(recorded_calls(turn)) for turn in self.turns)

    @property
    def key(self) -> str:
        """Digest of all that the future depends on, 32 hexadecimal digits: states of equal keys have equal futures.

        Beside the tokens these are the results of calls, with the true text beneath a fault: a program keeps what it
        did not print, and a review repeats the verdict that a fault hid.
        """
        results = [
            (r.operator, r.asked, r.text, r.failure, r.fault and r.fault.true_text)
            for turn in self.turns
            for r in recorded_calls(turn)
        ]
        facts = (self.question.id, self.question.text, len(self.turns), self.context, results)
        return hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def recorded_calls(turn: Turn) -> tuple[OperatorResult, ...]:
    """Results of the operator calls that a turn made, in order; none for a turn that was warned."""
    action = turn.parsed.action
    if action is None or turn.result is None:
        return turn.program_calls
    return turn.program_calls if action.kind is ActionKind.CODE else (turn.result,)


@dataclass(frozen=True, slots=True)
class RecordedCalls:
    """Operators that return recorded results, in order. `made` counts the calls; beyond the record they are empty."""

    pool: tuple[str, ...]
    results: tuple[OperatorResult, ...]
    made: list[str] = field(default_factory=list)

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        self.made.append(name)
        at = len(self.made) - 1
        return replace(self.results[at], asked="") if at < len(self.results) else OperatorResult(name, "")
