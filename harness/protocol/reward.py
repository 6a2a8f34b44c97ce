"""Reward of an episode, outcome plus format, as in the paper's release.

| case | total |
|---|---|
| right, well formed | 1.0 |
| right, malformed | 0.5 |
| wrong, well formed | 0.0 |
| wrong, malformed | -0.5 |
| empty answer, otherwise well formed | -1.0 |
| no answer | -1.5 |

Only the policy's own text counts: observations are no part of a ParsedTurn, so nothing that an operator returns can be
rewarded or penalised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.protocol.scoring import exact_match, f1, lenient
from harness.types import NonNegative, ParsedTurn, ParseFailure, Positive, Reward, StopReason


@dataclass(frozen=True, slots=True)
class RewardWeights:
    """Magnitudes: `format_penalty` and `no_answer_penalty` are subtracted, `correct` is added for an exact match."""

    format_penalty: NonNegative
    no_answer_penalty: NonNegative
    correct: Positive


PUBLISHED_REWARD = RewardWeights(format_penalty=0.5, no_answer_penalty=1.0, correct=1.0)
"""The weights of the table above."""


def final_answer(turns: Sequence[ParsedTurn]) -> str | None:
    """The answer to score: the last one in the policy's own text, well-formed turn or not; None if there is none."""
    return next((t.answer_text for t in reversed(turns) if t.answer_text is not None), None)


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
) -> Reward:
    """Score an episode. `golds` are the acceptable answers, `suite` the benchmark whose F1 applies.

    Raises:
        ValueError: as `episode_failures`.
    """
    malformed = bool(episode_failures(turns, stop))
    answer = final_answer(turns)
    given = bool(answer and answer.strip())
    em = exact_match(answer, golds) if answer and given else 0.0
    outcome = weights.correct * em if given else -weights.no_answer_penalty
    form = -weights.format_penalty if malformed else 0.0
    return Reward(
        total=outcome + form,
        outcome=outcome,
        format=form,
        em=em,
        f1=f1(answer, golds, suite) if answer and given else 0.0,
        lenient=lenient(answer, golds) if answer and given else 0.0,
        answer=answer,
    )
