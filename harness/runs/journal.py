"""The journal of one trial: what happened, on disk, append-only. It is the truth; every tracker is a view of it.

    <trial>/metrics.jsonl   {"n": line, "step": s, "values": {name: number}, "ts": ms, "crc": hex}
    <trial>/events.jsonl    {"n": line, "kind": k, "fields": {...}, "ts": ms, "crc": hex}, see `trial.TrialSink`
    <trial>/system.jsonl    {"n": line, "values": {name: number}, "ts": ms, "crc": hex}, see `driver/usage.py`
    <trial>/episodes/       step-000012-eval.parquet: one file a (step, split), see `episodes.py`
    <trial>/policies/       step-000030: a trained policy as a folder, see `policy/export.py`
    <trial>/result.json     {"status": "finished" | "failed", "key": …, "final": {…}, "error": …, "ts": ms, "crc": hex}

`n` counts lines from 0, so a lost line shows; `crc` is the CRC-32 of the line's canonical JSON without `crc`; `ts` is
wall time in milliseconds since 1970 and the only part that differs between two runs of the same trial on the same
machine (metrics under `time/` measure time and differ too: see `content`). A number that JSON lacks is written as
"nan", "inf" or "-inf". Metrics are on disk (fsync) when `metrics` returns, and so is every event before them.

A torn last line, left by a kill or a full disk, is dropped when a journal is opened again; any other damage is
reported by line, and `mend` cuts a file before it. A trial that goes on after a kill says some lines again: they stay
as they were first written, so whoever has read a line has read the truth (see `lines.LineLog`).
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from harness.runs.episode_store import write_episodes
from harness.runs.jsonl import (
    Damage,
    LineLog,
    cut_off,
    now_ms,
    read_lines,
    remove_unfinished,
    seal,
    sync_directory,
    unseal,
    untimed,
    write_atomically,
)
from harness.types import Question, Trajectory

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
SYSTEM = "system.jsonl"
EPISODES = "episodes"
POLICIES = "policies"
CHECKPOINTS = "checkpoints"
"""Of a trial under way, see `harness.runs.checkpoint`."""


class CheckpointStore(Protocol):
    """Where a journal keeps checkpoints: `harness.runs.checkpoint.Checkpoints`."""

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None: ...

    def resume(self) -> Mapping[str, Any] | None: ...


class Journal:
    """Writer of a trial's journal; implements `TrialSink`. One writer a directory at a time.

    Opening continues what is there: a torn tail is cut off, and what a killed writer had only begun is removed (of a
    policy, a whole model). Raises OSError when the disk refuses (what was committed stays readable), ValueError when
    the journal is damaged elsewhere than at its end. `held_out` says of a question whether it is about something no
    training question mentions. `resume_at`: lines of each file to go on from, where it is not their end; `differs` is
    told when a line then comes out otherwise than before.
    """

    def __init__(
        self,
        directory: str | Path,
        clock: Callable[[], int] = now_ms,
        held_out: Callable[[Question], bool] | None = None,
        checkpoints: CheckpointStore | None = None,
        resume_at: Mapping[str, int] | None = None,
        differs: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._held_out, self._checkpoints = held_out, checkpoints
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.directory, RESULT)
        remove_unfinished(self.directory / EPISODES)
        remove_unfinished(self.directory / POLICIES)
        self._clock = clock
        first = resume_at or {}
        self._metrics = LineLog(self.directory / METRICS, clock, first.get(METRICS), differs)
        try:
            self._events = LineLog(self.directory / EVENTS, clock, first.get(EVENTS), differs)
        except BaseException:
            self._metrics.close()
            raise

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of a step; durable on return."""
        numbers = {name: _encode(value) for name, value in sorted(values.items())}
        self._events.sync()
        self._metrics.append({"step": int(step), "values": numbers})
        self._metrics.sync()

    def event(self, kind: str, **fields: Any) -> None:
        """Record something that happened. Fields are JSON values; durable with the next metrics, or on close."""
        self._events.append({"kind": kind, "fields": fields})

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None:
        """Write the episodes of a (step, split) as one Parquet file, atomically, replacing an earlier one."""
        write_episodes(self.directory / EPISODES, step, split, trajectories, self._held_out)

    def policy(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep a policy: `write` fills a folder, which then takes its name whole, in place of an earlier one."""
        folder = policy_path(self.directory, step)
        staging = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            write(staging)
            shutil.rmtree(folder, ignore_errors=True)
            staging.replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        sync_directory(folder.parent)

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep what training goes on from, with the journal's present length; durable on return. Raises OSError."""
        if self._checkpoints is not None:
            self._events.sync()
            self._metrics.sync()
            self._checkpoints.write(step, {METRICS: self._metrics.length, EVENTS: self._events.length}, state)

    def resume(self) -> Mapping[str, Any] | None:
        """The state to go on from; None: begin."""
        return None if self._checkpoints is None else self._checkpoints.resume()

    def finish(self, key: str, final: Mapping[str, float]) -> None:
        """Mark the trial finished. Nothing is written after."""
        self._metrics.cut()
        self._events.cut()
        self._end({"status": "finished", "key": key, "final": {k: _encode(v) for k, v in sorted(final.items())}})

    def fail(self, key: str, error: str) -> None:
        """Mark the trial failed; `error` is the traceback, its last line what people read first."""
        self._end({"status": "failed", "key": key, "error": error})

    def _end(self, result: dict[str, Any]) -> None:
        self.close()
        body = {**result, "ts": self._clock()}
        write_atomically(self.directory / RESULT, (seal(body) + "\n").encode())

    def close(self) -> None:
        try:
            self._metrics.close()
        finally:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()


def policy_path(directory: str | Path, step: int) -> Path:
    """Where the policy after `step` updates is kept."""
    return Path(directory) / POLICIES / f"step-{step:06d}"


def restart(directory: str | Path) -> None:
    """Forget an unfinished trial's journal, so that it can be run from its start; other files are kept."""
    root = Path(directory)
    for name in (RESULT, METRICS, EVENTS, SYSTEM):
        (root / name).unlink(missing_ok=True)
    for path in (root / EPISODES).glob("*.parquet*"):
        path.unlink()


def remove_checkpoints(directory: str | Path) -> None:
    """A trial that has finished, or begins anew, has no use for them."""
    shutil.rmtree(Path(directory) / CHECKPOINTS, ignore_errors=True)


def damaged(directory: str | Path) -> list[str]:
    """The first damage of each of a trial's files, in words. A torn end is none."""
    return [f"{d.path.name}:{d.line}: {d.reason}" for d in _damage(directory)]


def mend(directory: str | Path) -> None:
    """Cut an unfinished trial's files before what is damaged in them."""
    for damage in _damage(directory):
        cut_off(damage.path, damage.line - 1)


def _damage(directory: str | Path) -> list[Damage]:
    found = (read_lines(Path(directory) / name).damage for name in (METRICS, EVENTS, SYSTEM))
    return [serious[0] for damage in found if (serious := [d for d in damage if not d.torn])]


def read_metrics(directory: str | Path) -> Iterator[tuple[int, dict[str, float], int]]:
    """(step, values, time in ms) of each metrics line in order. Raises ValueError on damage (a torn end is none)."""
    found = read_lines(Path(directory) / METRICS)
    for damage in found.damage:
        if not damage.torn:
            raise ValueError(f"damaged journal: {damage}")
    for record in found.records:
        yield record["step"], decode(record["values"]), record["ts"]


def read_result(directory: str | Path) -> dict[str, Any] | None:
    """The trial's result, None if it has not ended (or its file is not sound)."""
    try:
        record = unseal((Path(directory) / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    if record is not None and "final" in record:
        record["final"] = decode(record["final"])
    return record


def content(directory: str | Path) -> bytes:
    """The metrics and events without anything that measures time: equal bytes for equal runs."""
    root = Path(directory)
    lines: list[str] = []
    for name in (METRICS, EVENTS):
        lines += [untimed(record) for record in read_lines(root / name).records]
    return "\n".join(lines).encode()


def decode(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers as they were before they were written."""
    return {name: float(value) for name, value in values.items()}


def _encode(value: float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)
