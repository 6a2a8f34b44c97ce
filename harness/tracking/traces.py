"""Episodes as MLflow traces: agent → generate, parse, operator, turn after turn.

A trace is made from an episode's row in Parquet and what is known of its trial, and from nothing else; its ids are
hashes of where it comes from. So writing it again overwrites it with itself. Spans lie one after the other, each as
long as was measured (parsing was not), and end when the step's metrics were recorded.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harness.config import digest
from harness.tracking.sampling import choose, troubles

PREVIEW_CHARS = 1000
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


def sample(path: Path, others: int) -> list[dict[str, Any]]:
    """The rows of an episode file that are to be traces (see `sampling.choose`). Raises OSError, ArrowInvalid."""
    table = pq.ParquetFile(path).read()
    marks = table.select(["failures", "stop", "turns"]).to_pylist()
    rows: list[dict[str, Any]] = table.take(choose([troubles(row) for row in marks], others)).to_pylist()
    return rows


def write(uri: str, origin: Origin, rows: Sequence[Mapping[str, Any]], ts: int) -> None:
    """Write rows of one file as traces; `ts`: when their step was recorded (ms). Raises what MLflow raises."""
    from mlflow.tracing.client import TracingClient

    client = TracingClient(uri)
    made = [make(origin, row, ts) for row in rows]
    for info, _ in made:
        client.start_trace(info)
    if made:
        client.log_spans(origin.experiment, [span for _, spans in made for span in spans])


def make(origin: Origin, row: Mapping[str, Any], ts: int) -> tuple[Any, list[Any]]:
    """MLflow's TraceInfo and Spans of an episode."""
    from mlflow.entities import Span, TraceInfo, TraceLocation, TraceState

    place = [origin.experiment, origin.trial_key, origin.attempt, row["step"], row["split"], row["index"]]
    trace_id = digest(place)[:32]
    duration = round(sum((t.get("generate_s") or 0.0) + (t["latency_s"] or 0.0) for t in row["turns"]) * 1e9)
    start = ts * 1_000_000 - duration
    spans = [Span.from_dict(span) for span in _spans(trace_id, row, start, start + duration)]
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


def _spans(trace_id: str, row: Mapping[str, Any], start: int, end: int) -> Iterator[dict[str, Any]]:
    turns = row["turns"]
    root = _span_id(trace_id, 0)
    policy_tokens = sum(t["tokens"] for t in turns)
    read = row["tokens_seen"] - policy_tokens - sum(t["observation_tokens"] or 0 for t in turns)  # the prompt's tokens
    said = {"question": row["question"], "gold": row["gold"]}
    outcome = {name: row[name] for name in ("answer", "stop", "reward", "reward_outcome", "reward_format", "em", "f1")}
    attributes = {"turns": len(turns), "tokens": policy_tokens, "tokens_seen": row["tokens_seen"], "hops": row["hops"]}
    yield _span(trace_id, root, None, "agent", "AGENT", (start, end), said, outcome, attributes)
    at, n, heard = start, 0, row["question"]
    for number, turn in enumerate(turns, 1):

        def child(name: str, kind: str, seconds: float, *content: Any, turn_number: int = number) -> dict[str, Any]:
            nonlocal at, n
            begun, at, n = at, min(end, at + round(seconds * 1e9)), n + 1
            inputs, outputs, shown, error, events = content
            return _span(
                trace_id, _span_id(trace_id, n), root, name, kind, (begun, at), inputs, outputs,
                {"turn": turn_number, **shown}, error, events,
            )  # fmt: skip

        usage = {"input_tokens": read, "output_tokens": turn["tokens"], "total_tokens": read + turn["tokens"]}
        yield child(
            "generate", "CHAT_MODEL", turn.get("generate_s") or 0.0,
            {"messages": [{"role": "user", "content": heard}]},
            {"messages": [{"role": "assistant", "content": turn["text"]}]},
            {"mlflow.chat.tokenUsage": usage, "logprob_sum": turn["logprob_sum"]}, None, [],
        )  # fmt: skip
        parsed = {k: turn[k] for k in ("think", "action", "operator", "action_text", "answer_text", "failures")}
        yield child("parse", "PARSER", 0.0, {"text": turn["text"]}, parsed, {}, ", ".join(turn["failures"]) or None, [])
        if turn["result_of"] is not None:
            yield child(turn["result_of"], _kind(turn), turn["latency_s"] or 0.0, *_operator(turn, at))
        read += turn["tokens"] + (turn["observation_tokens"] or 0)
        heard = turn["observation"]


def _kind(turn: Mapping[str, Any]) -> str:
    return "RETRIEVER" if turn["result_of"] == "Search" else "GUARDRAIL" if turn["action"] is None else "TOOL"


def _operator(turn: Mapping[str, Any], at: int) -> tuple[Any, ...]:
    """Inputs, outputs, attributes, error and events of an operator's span."""
    shown: dict[str, Any] = {"cached": turn["cached"], "retries": turn["retries"]}
    used, written = turn["prompt_tokens"] or 0, turn["completion_tokens"] or 0
    if used or written:
        shown["mlflow.chat.tokenUsage"] = {
            "input_tokens": used, "output_tokens": written, "total_tokens": used + written,
        }  # fmt: skip
    if turn["cost_usd"]:
        shown["mlflow.llm.cost"] = {"total_cost": turn["cost_usd"]}
    events = []
    if turn["fault"]:
        fault = {"kind": turn["fault"], "call": turn["fault_call"] or 0, "true_result": turn["fault_true_text"] or ""}
        shown |= {f"fault.{name}": value for name, value in fault.items()}
        events.append({"name": "fault injected", "time_unix_nano": at, "attributes": fault})
    failure = turn["operator_failure"]
    inputs = {"input": turn["action_text"]} if turn["action"] else {"failures": turn["failures"]}
    return inputs, {"observation": turn["observation"]}, shown, failure, events


def _span(
    trace_id: str,
    span_id: str,
    parent: str | None,
    name: str,
    kind: str,
    time_ns: tuple[int, int],
    inputs: Any,
    outputs: Any,
    attributes: Mapping[str, Any],
    error: str | None = None,
    events: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """A span as MLflow's `Span.to_dict` writes it: ids in base64, every attribute as JSON."""
    shown = {
        "mlflow.traceRequestId": f"tr-{trace_id}",
        "mlflow.spanType": kind,
        "mlflow.spanInputs": inputs,
        "mlflow.spanOutputs": outputs,
        **attributes,
    }
    return {
        "trace_id": _base64(trace_id),
        "span_id": _base64(span_id),
        "parent_span_id": _base64(parent) if parent else "",
        "name": name,
        "start_time_unix_nano": time_ns[0],
        "end_time_unix_nano": time_ns[1],
        "status": {"code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK", "message": error or ""},
        "attributes": {k: json.dumps(v, ensure_ascii=False) for k, v in shown.items()},
        "events": list(events),
    }


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
    return digest([trace_id, n])[:16]


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
