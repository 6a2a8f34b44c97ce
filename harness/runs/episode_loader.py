"""Trajectories from Parquet rows, for code that reads episodes one by one (fault detection, loops, gallery).

Token ids and single log-probs are not stored: tokens are zeros of the right number, each with the turn's mean log-prob.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def trajectory(row: Mapping[str, Any]) -> Trajectory:
    """The episode of a row of `harness.runs.episode_store.SCHEMA` (all columns but `index` and `split` are used)."""
    question = Question(row["question_id"], row["question"], tuple(row["gold"]), row["suite"], row["hops"])
    reward = Reward(
        row["reward"],
        row["reward_outcome"],
        row["reward_format"],
        row["em"],
        row["f1"],
        row["lenient"],
        row["answer"],
    )
    turns = tuple(_turn(t) for t in row["turns"])
    failures = tuple(ParseFailure(f) for f in row["failures"])
    return Trajectory(question, (), turns, StopReason(row["stop"]), reward, failures, row["sample_seed"])


def _turn(row: Mapping[str, Any]) -> Turn:
    n = row["tokens"]
    mean = min(0.0, (row["logprob_sum"] or 0.0) / n)
    result = _result(row) if row["result_of"] is not None else None
    return Turn(
        (0,) * n,
        (mean,) * n,
        _parsed(row),
        row["action_start"],
        (0,) * (row["observation_tokens"] or 0),
        result,
        program_calls=tuple(_call(call) for call in row.get("calls") or ()),
    )


def _call(row: Mapping[str, Any]) -> OperatorResult:
    failure = OperatorFailure(row["operator_failure"]) if row["operator_failure"] is not None else None
    return OperatorResult(row["operator"], row["text"] or "", failure, fault=_fault(row), asked=row["asked"] or "")


def _fault(row: Mapping[str, Any]) -> Fault | None:
    if row["fault"] is None:
        return None
    return Fault(row["fault"], row["fault_call"] or 0, row["fault_true_text"] or "")


def _parsed(row: Mapping[str, Any]) -> ParsedTurn:
    text = row["text"]
    think = _find(text, row["think"]) if row["think"] is not None else None
    action = None
    if row["action"] is not None:
        inner = _find(text, row["action_text"] or "", last=True)
        # The element around the content: from the tag before it to the end of the tag after it.
        start, end = text.rfind("<", 0, inner.start), text.find(">", inner.end)
        whole = Span(start if start >= 0 else inner.start, end + 1 if end >= 0 else inner.end)
        action = Action(ActionKind(row["action"]), row["action_text"] or "", whole, row["operator"])
    failures = tuple(ParseFailure(f) for f in row["failures"])
    return ParsedTurn(text, think, action, failures, row["answer_text"])


def _find(text: str, part: str, last: bool = False) -> Span:
    at = text.rfind(part) if last else text.find(part)
    return Span(at, at + len(part)) if at >= 0 else Span(len(text), len(text))


def _result(row: Mapping[str, Any]) -> OperatorResult:
    return OperatorResult(
        row["result_of"],
        row["observation"] or "",
        OperatorFailure(row["operator_failure"]) if row["operator_failure"] is not None else None,
        row["prompt_tokens"] or 0,
        row["completion_tokens"] or 0,
        row["latency_s"] or 0.0,
        row["cost_usd"] or 0.0,
        bool(row["cached"]),
        row["retries"] or 0,
        _fault(row),
    )
