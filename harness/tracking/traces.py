"""Episodes as MLflow traces: agent → generate, parse, operator, turn after turn.

A trace is made from an episode's row in Parquet and what is known of its trial, and from nothing else; its ids are
hashes of where it comes from. So writing it again overwrites it with itself. Spans lie one after the other, each as
long as was measured (parsing was not), and end when the step's metrics were recorded.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness.config import digest
from harness.operators import Role, with_role
from harness.runs.episode_store import open_episodes
from harness.runs.trace_sampling import Sampler, kinds_in, rows_at, troubles

PREVIEW_CHARS = 1000
AT_ONCE = 40
"""Traces whose spans are sent together: a call costs as much as several traces do."""
SCORER = "harness.protocol.scoring"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where episodes come from: MLflow's experiment and run, and the trial in words."""

    experiment: str
    run: str
    trial_key: str
    attempt: int
    trial: str
    arm: str
    seed: int


def sample(files: Sequence[tuple[Path, str]], step: int, sampler: Sampler) -> list[dict[str, Any]]:
    """The rows of a step's episode files, given with their splits, that are to be traces. Raises OSError.

    A file that is gone or broken is left out: whoever analyses it reports that.
    """
    opened, kinds = {}, {}
    rows: list[dict[str, Any]] = []
    for path, split in files:
        with contextlib.suppress(FileNotFoundError, pa.ArrowException):
            file = open_episodes(path)
            kinds[split] = kinds_in(file)
            opened[split] = file
    for split, chosen in sampler.choose(step, kinds).items():
        with contextlib.suppress(pa.ArrowException):
            rows += rows_at(opened[split], chosen)
    return rows


def write(uri: str, origin: Origin, rows: Sequence[Mapping[str, Any]], ts: int) -> None:
    """Write rows as traces; `ts`: when their step was recorded (ms). Raises what MLflow raises."""
    send(uri, origin.experiment, [make(origin, row, ts) for row in rows])


def send(uri: str, experiment: str, made: Sequence[tuple[Any, list[Any]]]) -> None:
    """Write what `make` made, of any number of steps. Raises what MLflow raises."""
    from mlflow.tracing.client import TracingClient

    client = TracingClient(uri)
    for first in range(0, len(made), AT_ONCE):
        part = made[first : first + AT_ONCE]
        for info, _ in part:
            client.start_trace(info)
        client.log_spans(experiment, [span for _, spans in part for span in spans])


def make(origin: Origin, row: Mapping[str, Any], ts: int) -> tuple[Any, list[Any]]:
    """MLflow's TraceInfo and Spans of an episode."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    place = [origin.experiment, origin.trial_key, origin.attempt, row["step"], row["split"], row["index"]]
    trace_id = digest(place)[:32]
    duration = sum(part.ns for part in _parts(row))
    start = ts * 1_000_000 - duration
    spans = [Span.from_dict(span) for span in _spans(trace_id, row, start)]
    kinds = troubles(row)
    info = TraceInfo(
        trace_id=f"tr-{trace_id}",
        trace_location=TraceLocation.from_experiment_id(origin.experiment),
        request_time=start // 1_000_000,
        execution_duration=duration // 1_000_000,
        state=TraceState.OK,
        request_preview=row["question"][:PREVIEW_CHARS],
        response_preview=(row["answer"] or f"({row['stop']})")[:PREVIEW_CHARS],
        trace_metadata={
            "mlflow.sourceRun": origin.run,
            "mlflow.trace_schema.version": "3",
            "mlflow.traceInputs": json.dumps(row["question"])[:PREVIEW_CHARS],
            "mlflow.traceOutputs": json.dumps(row["answer"])[:PREVIEW_CHARS],
        },
        tags={
            "mlflow.traceName": f"{origin.trial} {row['split']} {row['step']}",
            "arm": origin.arm,
            "seed": str(origin.seed),
            "trial": origin.trial,
            "step": str(row["step"]),
            "split": row["split"],
            "suite": row["suite"],
            "question_id": row["question_id"],
            "stop": row["stop"],
            "failures": " ".join(kinds) or "none",
        },
        assessments=list(_verdicts(trace_id, row, ts)),
    )
    return info, spans


@dataclass(frozen=True, slots=True)
class _Part:
    """One thing that happened in an episode. `event`: something special about it, as (name, attributes)."""

    name: str
    kind: str
    ns: int
    inputs: Any
    outputs: Any
    attributes: Mapping[str, Any]
    error: str = ""
    event: tuple[str, Mapping[str, Any]] | None = None


def _spans(trace_id: str, row: Mapping[str, Any], start: int) -> Iterator[dict[str, Any]]:
    """The root and its parts one after the other, as MLflow's `Span.to_dict` writes them (ids in base64)."""
    parts = list(_parts(row))
    said = {"question": row["question"]}
    outcome = {name: row[name] for name in ("answer", "stop", "reward", "reward_outcome", "reward_format", "em", "f1")}
    shown = {
        "turns": len(row["turns"]),
        "tokens": row["tokens"],
        "tokens_seen": row["tokens_seen"],
        "hops": row["hops"],
    }
    agent = _Part("agent", "AGENT", sum(part.ns for part in parts), said, outcome, shown)
    at = start
    for n, part in enumerate([agent, *parts]):
        attributes = {
            "mlflow.traceRequestId": f"tr-{trace_id}",
            "mlflow.spanType": part.kind,
            "mlflow.spanInputs": part.inputs,
            "mlflow.spanOutputs": part.outputs,
            **part.attributes,
        }
        end = at + part.ns
        events = [part.event] if part.event else []
        yield {
            "trace_id": _base64(trace_id),
            "span_id": _span_id(trace_id, n),
            "parent_span_id": _span_id(trace_id, 0) if n else "",
            "name": part.name,
            "start_time_unix_nano": at,
            "end_time_unix_nano": end,
            "status": {"code": "STATUS_CODE_ERROR" if part.error else "STATUS_CODE_OK", "message": part.error},
            "attributes": {k: json.dumps(v, ensure_ascii=False) for k, v in attributes.items()},
            "events": [{"name": name, "time_unix_nano": end, "attributes": dict(more)} for name, more in events],
        }
        at = end if n else start


def _parts(row: Mapping[str, Any]) -> Iterator[_Part]:
    """generate, parse and, where something was called, the operator: turn after turn."""
    turns, heard = row["turns"], row["question"]
    read = row["tokens_seen"] - row["tokens"] - sum(t["observation_tokens"] or 0 for t in turns)  # the prompt
    for number, turn in enumerate(turns, 1):
        usage = {"input_tokens": read, "output_tokens": turn["tokens"], "total_tokens": read + turn["tokens"]}
        yield _Part(
            "generate",
            "CHAT_MODEL",
            _nanoseconds(turn, "generate_s"),
            {"messages": [{"role": "user", "content": heard}]},  # what is new to it: the rest stands above
            {"messages": [{"role": "assistant", "content": turn["text"]}]},
            {"turn": number, "mlflow.chat.tokenUsage": usage, "logprob_sum": turn["logprob_sum"]},
        )
        parsed = {k: turn[k] for k in ("think", "action", "operator", "action_text", "answer_text", "failures")}
        yield _Part("parse", "PARSER", 0, {"text": turn["text"]}, parsed, {"turn": number}, ", ".join(turn["failures"]))
        if turn["result_of"] is not None:
            yield _operator(turn, number)
        read += turn["tokens"] + (turn["observation_tokens"] or 0)
        heard = turn["observation"]


def _operator(turn: Mapping[str, Any], number: int) -> _Part:
    """The call of an operator, or the warning in its place; a fault injected into its result is an event."""
    shown: dict[str, Any] = {"turn": number, **{name: turn[name] for name in ("cached", "retries", "latency_s")}}
    used, written = turn["prompt_tokens"] or 0, turn["completion_tokens"] or 0
    if used or written:
        shown["mlflow.chat.tokenUsage"] = {
            "input_tokens": used,
            "output_tokens": written,
            "total_tokens": used + written,
        }
    if turn["cost_usd"]:
        shown["mlflow.llm.cost"] = {"total_cost": turn["cost_usd"]}
    event = None
    if turn["fault"]:
        fault = {"kind": turn["fault"], "call": turn["fault_call"] or 0, "true_result": turn["fault_true_text"] or ""}
        shown |= {f"fault.{name}": value for name, value in fault.items()}
        event = ("fault injected", fault)
    called = turn["action"] is not None
    return _Part(
        turn["result_of"],
        ("RETRIEVER" if turn["result_of"] in with_role([Role.RETRIEVES]) else "TOOL") if called else "GUARDRAIL",
        _nanoseconds(turn, "operate_s"),
        {"input": turn["action_text"]} if called else {"failures": turn["failures"]},
        {"observation": turn["observation"]},
        shown,
        turn["operator_failure"] or "",
        event,
    )


def _nanoseconds(turn: Mapping[str, Any], name: str) -> int:
    """A measured time of a turn; 0 in files from before it was measured."""
    return round((turn.get(name) or 0.0) * 1e9)


def recovery(row: Mapping[str, Any]) -> tuple[bool, str] | None:
    """(whether the answer was right in spite of it, what had to be recovered from); None: nothing had to.

    A fault, a failed call or a malformed turn counts when a further turn followed, one that could make it good.
    """
    trouble = []
    for number, turn in enumerate(row["turns"][:-1], 1):
        if turn["fault"]:
            trouble.append(f"injected {turn['fault']} in turn {number}")
        elif turn["operator_failure"]:
            trouble.append(f"{turn['result_of']} failed ({turn['operator_failure']}) in turn {number}")
        if turn["failures"]:
            trouble.append(f"malformed turn {number} ({', '.join(turn['failures'])})")
    return (row["em"] == 1, "; ".join(trouble)) if trouble else None


def _verdicts(trace_id: str, row: Mapping[str, Any], ts: int) -> Iterator[Any]:
    from mlflow.entities import AssessmentSource, Expectation

    source = AssessmentSource("CODE", SCORER)
    found = [
        Expectation("gold", row["gold"], source=source, create_time_ms=ts, last_update_time_ms=ts),
        _feedback("em", row["em"] == 1, f"answered {row['answer']!r}", source, ts),
        _feedback("format", not row["failures"], ", ".join(row["failures"]) or "every turn is well formed", source, ts),
    ]
    again = recovery(row)
    if again is not None:
        found.append(_feedback("recovered", again[0], again[1], source, ts))
    for assessment in found:
        assessment.assessment_id = f"a-{digest([trace_id, assessment.name])[:32]}"
        assessment.trace_id = f"tr-{trace_id}"
        yield assessment


def _feedback(name: str, value: bool, why: str, source: Any, ts: int) -> Any:
    from mlflow.entities import Feedback

    return Feedback(name, value, source=source, rationale=why, create_time_ms=ts, last_update_time_ms=ts)


def _span_id(trace_id: str, n: int) -> str:
    return _base64(digest([trace_id, n])[:16])


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
