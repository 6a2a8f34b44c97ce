"""Episodes as Parquet (snappy): one row an episode, its turns nested. Written by the journal, read by the analysis.

Rows hold everything that studies need of an episode; of token ids and log-probs only counts and sums. They keep the
order in which the episodes were given; `split` is their purpose, such as `train`, `eval` (greedy) or `eval_sampled`.
The bytes depend only on the episodes, except for the columns of `TIMING`: see `untimed`.

A flipped bit in a page may decode to another number, and Parquet's own page checksums do not cover its footer, which
holds the names and places of the columns. So a file carries the CRC-32 of all its other bytes between the last page and
the footer, which readers of Parquet skip; `open_episodes` checks it.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from harness.env.diagnostics import operators_called
from harness.runs.jsonl import write_atomically
from harness.types import Fault, OperatorResult, Question, Span, Trajectory, Turn

_TEXTS = pa.list_(pa.string())

TIMING = ("generate_s", "operate_s", "latency_s")
"""Columns of a turn that are measured times."""
CALL = pa.struct(
    [
        ("operator", pa.string()),
        ("asked", pa.string()),  # operator input
        ("text", pa.string()),  # its result in the program
        ("operator_failure", pa.string()),
        ("fault", pa.string()),
        ("fault_call", pa.int32()),
        ("fault_true_text", pa.string()),
    ]
)

TURN = pa.struct(
    [
        ("text", pa.string()),  # the policy's output, decoded
        ("think", pa.string()),  # the think element, tags included; null: none
        ("failures", _TEXTS),  # ParseFailure values
        ("action", pa.string()),  # ActionKind; null: nothing was executed
        ("operator", pa.string()),
        ("action_text", pa.string()),  # operator input, answer or code
        ("answer_text", pa.string()),  # content of the last answer element, even of a malformed turn
        ("tokens", pa.int32()),  # sampled tokens
        ("action_start", pa.int32()),  # index of the first token of the action half
        ("logprob_sum", pa.float64()),  # nats, under the sampling policy
        ("generate_s", pa.float64()),  # the engine's time for the batch the turn was sampled in
        ("operate_s", pa.float64()),  # from the call to the observation; latency_s is the operator LLM's part of it
        ("observation", pa.string()),  # the policy's next input; null after the last turn
        ("observation_tokens", pa.int32()),
        ("result_of", pa.string()),  # operator that made the observation, WarningOp included
        ("operator_failure", pa.string()),  # OperatorFailure value
        ("prompt_tokens", pa.int32()),  # the operator LLM's
        ("completion_tokens", pa.int32()),
        ("latency_s", pa.float64()),
        ("cost_usd", pa.float64()),
        ("cached", pa.bool_()),
        ("retries", pa.int32()),
        ("fault", pa.string()),  # kind of an injected fault
        ("fault_call", pa.int32()),
        ("fault_true_text", pa.string()),
        ("calls", pa.list_(CALL)),  # a program's calls (code interface), of which the above is the sum; else empty
    ]
)

SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("split", pa.string()),
        ("index", pa.int32()),  # position in the file
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("suite", pa.string()),
        ("hops", pa.int32()),  # null where the benchmark does not give it
        ("gold", _TEXTS),
        ("held_out", pa.bool_()),  # null where the data does not define it
        ("sample_seed", pa.int64()),
        ("stop", pa.string()),  # StopReason value
        ("reward", pa.float64()),  # outcome + format - the price of the calls
        ("reward_outcome", pa.float64()),
        ("reward_format", pa.float64()),
        ("em", pa.float64()),
        ("f1", pa.float64()),
        ("lenient", pa.float64()),
        ("answer", pa.string()),
        ("failures", _TEXTS),  # of the turns in order, then the episode's own
        ("operators", _TEXTS),  # operators called, in order
        ("faults", pa.int32()),  # injected
        ("tokens", pa.int32()),  # sampled, all turns
        ("tokens_seen", pa.int32()),  # prompt and observations included
        ("turns", pa.list_(TURN)),
    ],
    metadata={"schema": "episodes/1"},
)

_FILE = re.compile(r"step-(\d+)-(\w+)\.parquet")
_SEAL = b"crc-32 "
_DIGITS = 8
_END = 8
"""Bytes of Parquet's own end: the footer's length, then `PAR1`."""


class EpisodePath(NamedTuple):
    """A file of episodes: one training step, one split."""

    step: int
    split: str
    path: Path


def episode_path(folder: str | Path, step: int, split: str) -> Path:
    """The file of a (step, split) in a trial's folder of episodes."""
    return Path(folder) / f"step-{step:06d}-{split}.parquet"


def episode_files(folder: Path, step: int | None = None, split: str | None = None) -> list[EpisodePath]:
    """The files in a trial's folder of episodes, by step and split (default: all), in this order."""
    pattern = episode_path(".", step, "*").name if step is not None else "step-*.parquet"
    named = ((match, path) for path in folder.glob(pattern) if (match := _FILE.fullmatch(path.name)))
    found = [EpisodePath(int(match[1]), match[2], path) for match, path in named]
    return sorted(file for file in found if split is None or file.split == split)


def write_episodes(
    directory: str | Path,
    step: int,
    split: str,
    trajectories: Sequence[Trajectory],
    held_out: Callable[[Question], bool] | None = None,
) -> Path:
    """Write one file atomically, replacing an earlier one of the same step and split. Raises OSError."""
    if not split.replace("_", "").isalnum():
        raise ValueError(f"split {split!r}: letters, digits and underscores only")
    path = episode_path(directory, step, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {**_row(episode), "step": step, "split": split, "index": i, "held_out": held_out and held_out(episode.question)}
        for i, episode in enumerate(trajectories)
    ]
    made = io.BytesIO()
    # no dictionaries or statistics, which do not pay for so few rows: with zstd and both, the same files took two and
    # a half times as long to write and read, and were larger; nor Arrow's own copy of the schema, 4 KB of every file
    lean: dict[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    with pq.ParquetWriter(made, SCHEMA, compression="snappy", **lean) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        writer.add_key_value_metadata(SCHEMA.metadata)
    write_atomically(path, _sealed(made.getvalue()))
    return path


def read_episodes(path: str | Path) -> list[dict[str, Any]]:
    """The rows of one file. Raises as `open_episodes` does."""
    rows: list[dict[str, Any]] = open_episodes(path).read().to_pylist()
    return rows


class EpisodeFile(pq.ParquetFile):  # type: ignore[misc]
    """Reads without Arrow's threads: with them so few rows take half as long again, some columns twice as long, and a
    thread that still holds the file's bytes, which Python owns, may abort the process when Python ends."""

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        return super().read(columns, use_threads=False)


def open_episodes(path: str | Path) -> EpisodeFile:
    """Open one file after checking its checksum; files from before there were checksums pass.

    Raises OSError, or pyarrow.ArrowInvalid with the file's name when it is damaged.
    """
    raw = Path(path).read_bytes()
    at = _footer(raw)
    crc = raw[at - _DIGITS : at]
    bare = raw[: at - _DIGITS - len(_SEAL)]
    if raw[len(bare) : at - _DIGITS] == _SEAL and crc != b"%08x" % zlib.crc32(raw[at:], zlib.crc32(bare)):
        raise pa.ArrowInvalid(f"{path}: its checksum does not match")
    try:
        return EpisodeFile(pa.py_buffer(raw))
    except (pa.ArrowException, OSError) as error:  # cut short, or no Parquet at all
        raise pa.ArrowInvalid(f"{path}: {error}") from error


def _sealed(raw: bytes) -> bytes:
    at = _footer(raw)
    return raw[:at] + _SEAL + b"%08x" % zlib.crc32(raw) + raw[at:]


def _footer(raw: bytes) -> int:
    """Offset of a Parquet file's footer; arbitrary in a broken one."""
    return max(0, len(raw) - _END - int.from_bytes(raw[-_END:-4], "little"))


def untimed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the columns of `TIMING`: equal for equal episodes."""
    return [
        {**row, "turns": [{k: v for k, v in turn.items() if k not in TIMING} for turn in row["turns"]]} for row in rows
    ]


def _row(episode: Trajectory) -> dict[str, Any]:
    question, reward = episode.question, episode.reward
    return {
        "question_id": question.id,
        "question": question.text,
        "suite": question.suite,
        "hops": question.hops,
        "gold": list(question.answers),
        "sample_seed": episode.sample_seed,
        "stop": episode.stop.value,
        "reward": reward.total,
        "reward_outcome": reward.outcome,
        "reward_format": reward.format,
        "em": reward.em,
        "f1": reward.f1,
        "lenient": reward.lenient,
        "answer": reward.answer,
        "failures": [failure.value for failure in episode.failures],
        "operators": [name for t in episode.turns for name in operators_called(t)],
        "faults": sum(len(t.faults) for t in episode.turns),
        "tokens": episode.n_policy_tokens,
        "tokens_seen": episode.n_tokens,
        "turns": [_turn(turn) for turn in episode.turns],
    }


def _turn(turn: Turn) -> dict[str, Any]:
    parsed = turn.parsed
    action = parsed.action
    return {
        "text": parsed.text,
        "think": _slice(parsed.text, parsed.think),
        "failures": [failure.value for failure in parsed.failures],
        "action": action.kind.value if action else None,
        "operator": action.operator if action else None,
        "action_text": action.text if action else None,
        "answer_text": parsed.answer_text,
        "tokens": len(turn.tokens),
        "action_start": turn.action_start,
        "logprob_sum": sum(turn.logprobs),
        "generate_s": turn.generate_s,
        "operate_s": turn.operate_s,
        "observation_tokens": len(turn.observation_tokens),
        "calls": [_call(call) for call in turn.program_calls],
        **(_result(turn.result) if turn.result else {}),
    }


def _call(call: OperatorResult) -> dict[str, Any]:
    return {
        "operator": call.operator,
        "asked": call.asked,
        "text": call.text,
        "operator_failure": call.failure.value if call.failure else None,
        **_fault(call.fault),
    }


def _fault(fault: Fault | None) -> dict[str, Any]:
    if fault is None:
        return {}
    return {"fault": fault.kind, "fault_call": fault.call_index, "fault_true_text": fault.true_text}


def _result(result: OperatorResult) -> dict[str, Any]:
    return {
        "observation": result.text,
        "result_of": result.operator,
        "operator_failure": result.failure.value if result.failure else None,
        "prompt_tokens": result.prompt_tokens,
        "completion_tokens": result.completion_tokens,
        "latency_s": result.latency_s,
        "cost_usd": result.cost_usd,
        "cached": result.cached,
        "retries": result.retries,
        **_fault(result.fault),
    }


def _slice(text: str, span: Span | None) -> str | None:
    return text[span.start : span.end] if span else None
