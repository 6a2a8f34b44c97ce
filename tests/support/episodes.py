"""Small parts that tests share: a character-level chat tokenizer, hand-made trajectories, a scripted environment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from harness.env.prompts.chat import ChatFormat
from harness.policy.tiny import word_tokenizer
from harness.protocol import PUBLISHED_REWARD, action_start_char, episode_failures, episode_reward, parse_turn
from harness.types import Group, OperatorResult, ParsedTurn, Question, StopReason, Trajectory, Turn

POOL = ("AnswerGenerate", "Search")


@cache
def chat() -> ChatFormat:
    return ChatFormat(word_tokenizer(["system user assistant think tool answer Search: capital of Chad"]))


def question(number: int = 0) -> Question:
    return Question(f"q{number}", f"What is the capital of country {number}?", ("N'Djamena",), "suite", 1)


def trajectory(
    turns: Sequence[tuple[str, str | None]], asked: Question | None = None, seed: int = 0, logprob: float = -0.5
) -> Trajectory:
    """From (what the policy wrote, what it read then or None); log-probs are around `logprob`."""
    asked, form = asked or question(), chat()
    rng = np.random.default_rng([seed, len(turns)])
    made: list[Turn] = []
    parsed: list[ParsedTurn] = []
    for said, read in turns:
        parsed.append(parse_turn(said, POOL))
        tokens = form.turn(said)
        made.append(
            Turn(
                tokens,
                tuple(-abs(rng.normal(-logprob, 0.2, len(tokens)))),
                parsed[-1],
                form.token_at(tokens, action_start_char(parsed[-1])),
                form.observation(f"<info>{read}</info>", turn_ended=True) if read is not None else (),
                OperatorResult("Search", read) if read is not None else None,
            )
        )
    answered = parsed[-1].action is not None and turns[-1][1] is None
    stop = StopReason.ANSWERED if answered else StopReason.TURN_BUDGET
    reward = episode_reward(parsed, stop, asked.answers, PUBLISHED_REWARD)
    prompt = form.prompt("Operators: " + ", ".join(POOL), asked.text)
    return Trajectory(asked, prompt, tuple(made), stop, reward, episode_failures(parsed, stop), seed)


SEARCH = "<think>look it up</think><tool>Search: capital</tool>"
RIGHT = "<think>found</think><answer>N'Djamena</answer>"
WRONG = "<think>guess</think><answer>Niamey</answer>"
MALFORMED = "<answer>N'Djamena"


def group(number: int, *, mixed: bool = True) -> Group:
    """Four episodes of ragged lengths; `mixed` false: all of equal reward."""
    asked = question(number)
    lines = [[(WRONG, None)], [(SEARCH, "Chad: capital N'Djamena"), (RIGHT, None)],
             [(SEARCH, "nothing"), (SEARCH, "nothing"), (MALFORMED, "warning"), (RIGHT, None)],
             [(MALFORMED, "warning"), (WRONG, None)]]  # fmt: skip
    if not mixed:
        lines = [[(SEARCH, "x " * i), (RIGHT, None)] for i in range(4)]
    return Group(asked, tuple(trajectory(t, asked, seed=10 * number + i) for i, t in enumerate(lines)))
