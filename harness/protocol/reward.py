"""The reward of an episode (the table of the paper's release): outcome plus format.

| case | total |
|---|---|
| right, well formed | 1.0 |
| right, malformed | 0.5 |
| wrong, well formed | 0.0 |
| wrong, malformed | -0.5 |
| empty answer, otherwise well formed | -1.0 |
| no answer | -1.5 |

Only the policy's own text is looked at. Observations are no part of a ParsedTurn, so nothing an operator returns can
earn or cost anything.
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
    """The answer that counts: the last one the policy itself gave, in a well-formed turn or not."""
    return next((t.answer_text for t in reversed(turns) if t.answer_text is not None), None)


def episode_failures(turns: Sequence[ParsedTurn], stop: StopReason) -> tuple[ParseFailure, ...]:
    """The turns' failures in order, then NO_ANSWER if no answer was given. Empty: the episode is well formed.

    A call past the call budget is a failure of its turn: see `harness.protocol.with_failure`. Raises ValueError if
    `stop` says answered and no turn holds an answer.
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
