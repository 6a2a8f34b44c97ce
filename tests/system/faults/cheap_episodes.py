"""Episodes of the cheap trial, made without a tokenizer: what they say hangs on the walk, what they took does not."""

from __future__ import annotations

import time

from harness.types import (
    Action,
    ActionKind,
    OperatorResult,
    ParsedTurn,
    ParseFailure,
    Question,
    Reward,
    Span,
    StopReason,
    Trajectory,
    Turn,
)  # fmt: skip

CALL = "<think>look</think><tool>Search: Ghana</tool>"
ANSWER = "<answer>Accra</answer>"


def played(step: int, number: int, place: float) -> Trajectory:
    """The first of a step is sound, the second malformed: a kind of trouble, so MLflow's traces choose among them."""
    took = time.perf_counter() % 0.01  # no two processes agree on it
    question = Question(f"q{step}-{number}", "Capital of Ghana?", ("Accra",), "world_single", hops=1)
    call = ParsedTurn(CALL, Span(0, 19), Action(ActionKind.TOOL, "Ghana", Span(19, len(CALL)), "Search"))
    failures = (ParseFailure.MISSING_THINK,) if number else ()
    answer = ParsedTurn(ANSWER, None, None, failures, "Accra")
    turns = (
        Turn(
            (4, 5),
            (-abs(place), -0.25),
            call,
            1,
            (6, 7, 8),
            OperatorResult("Search", f"Accra {place}", latency_s=took),
            generate_s=took,
            operate_s=took,
        ),
        Turn((9,), (-1.0,), answer, 0),
    )
    reward = Reward(place, place, 0.0, 1.0, 1.0, 1.0, "Accra")
    return Trajectory(question, (1, 2, 3), turns, StopReason.ANSWERED, reward, failures, step)
