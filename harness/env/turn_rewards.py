"""Turn rewards: what each turn of an episode earned, computed from the episode; the credit axis of objectives reads it.

| source | reward of a turn |
|---|---|
| `outcome` | the episode's total reward at its last turn, 0 before |
| `form` | the form of the turn, in [0, 1] (`turn_form`) |
| `evidence` | share of the question's evidence that its searches found first, in [0, 1] an episode |

Rewards are functions of stored tokens and texts and no field of a turn: a resumed or replayed episode has the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from harness.operators.llm.knowledge_base import words
from harness.operators.registry import OPERATORS
from harness.operators.roles import Role
from harness.protocol.reward import turn_form
from harness.types import OperatorResult, Question, Trajectory, Turn
from harness.types.own_code import chosen_function

TurnReward = Callable[[Trajectory], Sequence[float]]
"""A trajectory of K turns to K rewards."""


def outcome_at_end(trajectory: Trajectory) -> list[float]:
    """0 for every turn but the last, which earns the episode's total reward."""
    return [0.0] * (len(trajectory.turns) - 1) + [trajectory.reward.total]


def form_by_turn(trajectory: Trajectory) -> list[float]:
    """`turn_form` of each turn: thought, closed tags, known action, no failure."""
    return [turn_form(turn.parsed) for turn in trajectory.turns]


def evidence_found(trajectory: Trajectory) -> list[float]:
    """Evidence that each turn's retrieving operators found for the first time, as a share of the question's.

    Evidence of a question with a plan: the values of its hops, as words in an observation, those that the question
    itself names left out. Of any other: its supporting passages, by id, where no fault replaced the result. A question
    with neither has none, and its turns earn 0.
    """
    question = trajectory.question
    wanted = _values(question) or set(question.supporting)
    missing, rewards = set(wanted), []
    for turn in trajectory.turns:
        found = {item for call in _retrieved(turn) for item in missing if _holds(call, item)}
        missing -= found
        rewards.append(len(found) / len(wanted) if wanted else 0.0)
    return rewards


TURN_REWARDS: dict[str, TurnReward] = {
    "outcome": outcome_at_end,
    "form": form_by_turn,
    "evidence": evidence_found,
}


def has_evidence(question: Question) -> bool:
    """Whether `evidence_found` can be positive for a question."""
    return bool(_values(question) or question.supporting)


def turn_rewards(source: str, trajectory: Trajectory) -> list[float]:
    """Rewards of the turns by a source of `TURN_REWARDS`, or by one's own function.

    Raises:
        ValueError: if one's own gives anything but a finite number a turn.
        OwnCodeError: if it cannot be imported.
    """
    rewards = [float(r) for r in chosen_function(source, TURN_REWARDS)(trajectory)]
    if len(rewards) != len(trajectory.turns) or not all(map(math.isfinite, rewards)):
        raise ValueError(f"turn rewards {source}: {len(trajectory.turns)} finite numbers expected, got {rewards}")
    return rewards


def _values(question: Question) -> set[str | tuple[str, ...]]:
    """Words of the values that a plan's hops lead to; values in the question's own text tell nothing new."""
    named = words(question.text)
    values = {words(step.value) for step in question.plan}
    return {value for value in values if value and not _within(value, named)}


def _retrieved(turn: Turn) -> Iterator[OperatorResult]:
    calls = turn.program_calls or ((turn.result,) if turn.result is not None else ())
    return (c for c in calls if c.operator in OPERATORS and OPERATORS[c.operator].role is Role.RETRIEVES)


def _holds(call: OperatorResult, item: str | tuple[str, ...]) -> bool:
    if isinstance(item, str):
        return call.fault is None and item in call.passages
    return _within(item, words(call.text))


def _within(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))
