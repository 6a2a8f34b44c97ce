"""Made-up trajectories, written by the harness's own Parquet writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.runs.episode_store import write_episodes
from harness.types import (
    Action,
    ActionKind,
    Fault,
    OperatorFailure,
    OperatorResult,
    ParsedTurn,
    ParseFailure,
    Question,
    Reward,
    Span,
    StopReason,
    Trajectory,
    Turn,
)

KINDS = (ParseFailure.MISSING_ACTION, ParseFailure.UNCLOSED_TAG)


def call(
    operator: str = "Search",
    text: str = "x",
    observation: str = "[1] a passage",
    failure: OperatorFailure | None = None,
    fault: str | None = None,
    call_index: int = 0,
) -> Turn:
    body = f"<think>so</think><tool>{operator}: {text}</tool>"
    parsed = ParsedTurn(body, Span(0, 17), Action(ActionKind.TOOL, text, Span(17, len(body)), operator))
    injected = Fault(fault, call_index, "the truth") if fault else None
    result = OperatorResult(operator, observation, failure, fault=injected)
    return Turn((5, 6, 7), (-0.1, -0.2, -0.3), parsed, 1, (8, 9), result)


def malformed(failure: ParseFailure = ParseFailure.MISSING_ACTION) -> Turn:
    parsed = ParsedTurn("<think>so</think>", Span(0, 17), None, (failure,))
    return Turn((5, 6), (-0.1, -0.2), parsed, 2, (8,), OperatorResult("WarningOp", "Use one of the two forms."))


def answer(text: str = "Paris") -> Turn:
    body = f"<think>so</think><answer>{text}</answer>"
    parsed = ParsedTurn(body, Span(0, 17), Action(ActionKind.ANSWER, text, Span(17, len(body))), (), text)
    return Turn((5, 6, 7, 8), (-0.1,) * 4, parsed, 2)


def episode(
    turns: Sequence[Turn],
    question: str = "q0",
    suite: str = "one_hop",
    hops: int | None = 1,
    em: float = 1.0,
    seed: int = 0,
) -> Trajectory:
    failures = [f for t in turns for f in t.parsed.failures]
    answered = turns[-1].result is None
    if not answered:
        failures.append(ParseFailure.NO_ANSWER)
    form = -0.5 if failures else 0.0
    outcome = em if answered else -1.0
    reward = Reward(outcome + form, outcome, form, em, em, em, turns[-1].parsed.answer_text)
    stop = StopReason.ANSWERED if answered else StopReason.TURN_BUDGET
    asked = Question(question, f"What is {question}?", ("Paris",), suite, hops)
    return Trajectory(asked, (1, 2), tuple(turns), stop, reward, tuple(failures), seed)


def random_episodes(
    rng: np.random.Generator,
    questions: int = 20,
    suites: Sequence[tuple[str, int]] = (("one_hop", 1), ("two_hop", 2)),
    malformed_rate: float = 0.2,
    em: float = 0.5,
) -> list[Trajectory]:
    """One greedy episode a question and suite: `hops` searches, some turns malformed, right with probability `em`."""
    out = []
    for suite, hops in suites:
        for q in range(questions):
            turns = []
            for _ in range(hops):
                if rng.random() < malformed_rate:
                    turns.append(malformed(KINDS[int(rng.integers(len(KINDS)))]))
                turns.append(call())
            if rng.random() < 0.95:
                turns.append(answer())
            out.append(episode(turns, f"q{q}", suite, hops, float(rng.random() < em) * (turns[-1].result is None)))
    return out


def write(root: Path, trial: str, step: int, split: str, trajectories: Sequence[Trajectory]) -> None:
    write_episodes(root / "trials" / trial / "episodes", step, split, trajectories)
