"""Episodes as MLflow traces: agent → generate, parse, operator, turn after turn.

A trace depends only on an episode's row in Parquet and its trial, and its ids are hashes of its origin, so writing it
again is idempotent. Spans follow each other, each as long as was measured (parsing was not), and end when the step's
metrics were recorded.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from harness.config import digest
from harness.operators import Role, with_role
from harness.runs.episode_store import EpisodePath, open_episodes
from harness.runs.trace_sampling import TraceSampler, rows_at, trace_failures, trace_failures_in

PREVIEW_CHARS = 1000
BATCH_TRACES = 40
"""Traces whose spans are sent together: a call costs as much as several traces."""
SCORER = "harness.protocol.scoring"


@dataclass(frozen=True, slots=True)
class TraceOrigin:
    """Origin of episodes: MLflow's experiment and run, and the trial."""

    experiment: str
    run: str
    trial_key: str
    attempt: int
    trial: str
    arm: str
    seed: int


def sample_rows(files: Sequence[EpisodePath], step: int, sampler: TraceSampler) -> list[dict[str, Any]]:
    """Rows of a step's episode files that become traces. Raises OSError.

    Missing and broken files are skipped: they are reported where episodes are analysed.
    """
    opened, kinds = {}, {}
    rows: list[dict[str, Any]] = []
    for _, split, path in files:
        with contextlib.suppress(FileNotFoundError, pa.ArrowException):
            file = open_episodes(path)
            kinds[split] = trace_failures_in(file)
            opened[split] = file
    for split, chosen in sampler.choose(step, kinds).items():
        with contextlib.suppress(pa.ArrowException):
            rows += rows_at(opened[split], chosen)
    return rows


def send_traces(uri: str, experiment: str, traces: Sequence[tuple[Any, list[Any]]]) -> None:
    """Write traces of any number of steps. Raises MLflow's exceptions."""
    from mlflow.tracing.client import TracingClient

    client = TracingClient(uri)
    for first in range(0, len(traces), BATCH_TRACES):
        part = traces[first : first + BATCH_TRACES]
        for info, _ in part:
            client.start_trace(info)
        client.log_spans(experiment, [span for _, spans in part for span in spans])


def build_trace(origin: TraceOrigin, row: Mapping[str, Any], ts: int) -> tuple[Any, list[Any]]:
    """MLflow's TraceInfo and Spans of an episode; `ts`: when its step was recorded (ms)."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    place = [origin.experiment, origin.trial_key, origin.attempt, row["step"], row["split"], row["index"]]
    trace_id = digest(place)[:32]
    duration = sum(part.ns for part in _parts(row))
    start = ts * 1_000_000 - duration
    spans = [Span.from_dict(span) for span in _spans(trace_id, row, start)]
    kinds = trace_failures(row)
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
        assessments=list(_assessments(trace_id, row, ts)),
    )
    return info, spans


@dataclass(frozen=True, slots=True)
class _Part:
    """One span of an episode. `event`: a span event as (name, attributes)."""

    name: str
    kind: str
    ns: int
    inputs: Any
    outputs: Any
    attributes: Mapping[str, Any]
    error: str = ""
    event: tuple[str, Mapping[str, Any]] | None = None


def _spans(trace_id: str, row: Mapping[str, Any], start: int) -> Iterator[dict[str, Any]]:
    """The root span and its parts in order, as MLflow's `Span.to_dict` writes them (ids in base64)."""
    parts = list(_parts(row))
    inputs = {"question": row["question"]}
    outcome = {name: row[name] for name in ("answer", "stop", "reward", "reward_outcome", "reward_format", "em", "f1")}
    shown = {
        "turns": len(row["turns"]),
        "tokens": row["tokens"],
        "tokens_seen": row["tokens_seen"],
        "hops": row["hops"],
    }
    agent = _Part("agent", "AGENT", sum(part.ns for part in parts), inputs, outcome, shown)
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
    """Spans of each turn: generate, parse and, where one was called, the operator."""
    turns, new_input = row["turns"], row["question"]
    read = row["tokens_seen"] - row["tokens"] - sum(t["observation_tokens"] or 0 for t in turns)  # the prompt
    for number, turn in enumerate(turns, 1):
        usage = {"input_tokens": read, "output_tokens": turn["tokens"], "total_tokens": read + turn["tokens"]}
        yield _Part(
            "generate",
            "CHAT_MODEL",
            _nanoseconds(turn, "generate_s"),
            {"messages": [{"role": "user", "content": new_input}]},  # earlier messages are in the spans before
            {"messages": [{"role": "assistant", "content": turn["text"]}]},
            {"turn": number, "mlflow.chat.tokenUsage": usage, "logprob_sum": turn["logprob_sum"]},
        )
        parsed = {k: turn[k] for k in ("think", "action", "operator", "action_text", "answer_text", "failures")}
        yield _Part("parse", "PARSER", 0, {"text": turn["text"]}, parsed, {"turn": number}, ", ".join(turn["failures"]))
        if turn["result_of"] is not None:
            yield _operator(turn, number)
        read += turn["tokens"] + (turn["observation_tokens"] or 0)
        new_input = turn["observation"]


def _operator(turn: Mapping[str, Any], number: int) -> _Part:
    """Span of an operator call, or of the warning in its place; an injected fault is a span event."""
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
    """A measured time of a turn in ns; 0 in files from before it was measured."""
    return round((turn.get(name) or 0.0) * 1e9)


def recovery(row: Mapping[str, Any]) -> tuple[bool, str] | None:
    """(whether the answer was right, the failures before it); None without failures.

    A fault, a failed call or a malformed turn counts when a further turn followed, in which to recover.
    """
    failures = []
    for number, turn in enumerate(row["turns"][:-1], 1):
        if turn["fault"]:
            failures.append(f"injected {turn['fault']} in turn {number}")
        elif turn["operator_failure"]:
            failures.append(f"{turn['result_of']} failed ({turn['operator_failure']}) in turn {number}")
        if turn["failures"]:
            failures.append(f"malformed turn {number} ({', '.join(turn['failures'])})")
    return (row["em"] == 1, "; ".join(failures)) if failures else None


def _assessments(trace_id: str, row: Mapping[str, Any], ts: int) -> Iterator[Any]:
    from mlflow.entities import AssessmentSource, Expectation

    source = AssessmentSource("CODE", SCORER)
    found = [
        Expectation("gold", row["gold"], source=source, create_time_ms=ts, last_update_time_ms=ts),
        _feedback("em", row["em"] == 1, f"answered {row['answer']!r}", source, ts),
        _feedback("format", not row["failures"], ", ".join(row["failures"]) or "every turn is well formed", source, ts),
    ]
    recovered = recovery(row)
    if recovered is not None:
        found.append(_feedback("recovered", *recovered, source, ts))
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
