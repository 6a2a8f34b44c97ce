"""Reward of an episode: outcome plus format, as in the paper's release, less the price of its calls (0 there).

| case | total |
|---|---|
| right, well formed | 1.0 |
| right, malformed | 0.5 |
| wrong, well formed | 0.0 |
| wrong, malformed | -0.5 |
| empty answer, otherwise well formed | -1.0 |
| no answer | -1.5 |

With `form: graded` a malformed episode loses only the share of its form that is missing, so that a policy which knows
no form at all has something to climb: a turn's form is the mean of four checks (`turn_form`), an episode's that of its
turns.

Only the policy's own text counts: observations are no part of a ParsedTurn, so nothing that an operator returns can be
rewarded or penalised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.protocol.scoring import exact_match, f1, lenient
from harness.types import NonNegative, ParsedTurn, ParseFailure, Positive, Reward, StopReason


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """Magnitudes: `format_penalty` and `no_answer_penalty` are subtracted, `correct` is added for an exact match.

    `call_cost` is subtracted for every operator call. `form`: whether the format penalty is all or nothing.
    """

    format_penalty: NonNegative
    no_answer_penalty: NonNegative
    correct: Positive
    call_cost: NonNegative = 0.0
    form: Literal["binary", "graded"] = "binary"


PUBLISHED_REWARD = RewardWeights(format_penalty=0.5, no_answer_penalty=1.0, correct=1.0)
"""The weights of the table above."""


def final_answer(turns: Sequence[ParsedTurn]) -> str | None:
    """The answer to score: the last one in the policy's own text, well-formed turn or not; None if there is none."""
    return next((t.answer_text for t in reversed(turns) if t.answer_text is not None), None)


_OF_THINK = frozenset({ParseFailure.MISSING_THINK, ParseFailure.EMPTY_THINK})
_OF_TAGS = frozenset(
    {ParseFailure.UNCLOSED_TAG, ParseFailure.UNOPENED_TAG, ParseFailure.NESTED_TAG, ParseFailure.TRUNCATED_TURN}
)
_OF_ACTION = frozenset(
    {
        ParseFailure.MISSING_ACTION,
        ParseFailure.EMPTY_ACTION,
        ParseFailure.MISSING_OPERATOR_NAME,
        ParseFailure.UNKNOWN_OPERATOR,
    }
)


def turn_form(turn: ParsedTurn) -> float:
    """Form of a turn in [0, 1]: the mean of whether it has a thought, closed tags, an action that names what exists,
    and no failure at all."""
    found = set(turn.failures)
    return (sum(found.isdisjoint(kind) for kind in (_OF_THINK, _OF_TAGS, _OF_ACTION)) + turn.well_formed) / 4


def episode_failures(turns: Sequence[ParsedTurn], stop: StopReason) -> tuple[ParseFailure, ...]:
    """The turns' failures in order, then NO_ANSWER if there is no answer. Empty for a well-formed episode.

    A call beyond the call budget is a failure of its turn, see `with_failure`.

    Raises:
        ValueError: if `stop` is ANSWERED and no turn has an answer.
    """
    failures = [failure for turn in turns for failure in turn.failures]
    if final_answer(turns) is None:
        if stop is StopReason.ANSWERED:
            raise ValueError("an episode that stopped as answered has no answer in its turns")
        failures.append(ParseFailure.NO_ANSWER)
    return tuple(failures)


def episode_reward(
    turns: Sequence[ParsedTurn],
    stop: StopReason,
    golds: Sequence[str],
    weights: RewardWeights = PUBLISHED_REWARD,
    suite: str = "",
    is_right: Callable[[str], bool] | None = None,
    calls: int = 0,
) -> Reward:
    """Score an episode of so many operator `calls`. `golds` are the acceptable answers, `suite` the benchmark whose F1
    applies; `is_right` takes the place of exact match for a task with its own scoring.

    Raises:
        ValueError: as `episode_failures`.
    """
    malformed = bool(episode_failures(turns, stop))
    answer = final_answer(turns)
    given = bool(answer and answer.strip())
    em = 0.0
    if answer and given:
        em = exact_match(answer, golds) if is_right is None else float(is_right(answer))
    outcome = weights.correct * em if given else -weights.no_answer_penalty
    form = -weights.format_penalty if malformed else 0.0
    if form and weights.form == "graded":
        form *= 1 - sum(map(turn_form, turns)) / len(turns)
    return Reward(
        total=outcome + form - weights.call_cost * calls,
        outcome=outcome,
        format=form,
        em=em,
        f1=f1(answer, golds, suite) if answer and given else 0.0,
        lenient=max(em, lenient(answer, golds)) if answer and given else 0.0,
        answer=answer,
    )
