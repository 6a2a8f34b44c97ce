"""The journal of one trial: what happened, on disk, append-only. It is the truth; every tracker is a view of it.

    <trial>/metrics.jsonl   {"n": line, "step": s, "values": {name: number}, "ts": ms, "crc": hex}
    <trial>/events.jsonl    {"n": line, "kind": k, "fields": {...}, "ts": ms, "crc": hex}
    <trial>/system.jsonl    {"n": line, "values": {name: number}, "ts": ms, "crc": hex}, see `driver/usage.py`
    <trial>/episodes/       step-000012-eval.parquet: one file a (step, split), see `episodes.py`
    <trial>/policies/       step-000030: a trained policy as a folder, see `policy/export.py`
    <trial>/result.json     {"status": "finished" | "failed", "key": …, "final": {…}, "error": …, "ts": ms, "crc": hex}

`n` counts lines from 0, so a lost line shows; `crc` is the CRC-32 of the line's canonical JSON without `crc`; `ts` is
wall time in milliseconds since 1970 and the only part that differs between two runs of the same trial on the same
machine (metrics under `time/` measure time and differ too: see `content`). A number that JSON lacks is written as
"nan", "inf" or "-inf". Metrics are on disk (fsync) when `metrics` returns, and so is every event before them.

A torn last line, left by a kill or a full disk, is dropped when a journal is opened again; any other damage is
reported by line and never repaired.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from harness.episodes import write_episodes
from harness.types import Question, Trajectory

METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
RESULT = "result.json"
SYSTEM = "system.jsonl"
EPISODES = "episodes"
POLICIES = "policies"
_CRC = b',"crc":"'
TIMING = "time/"
"""Metrics under this prefix measure wall time."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A line that cannot be trusted (1-based) and why; `torn` if it is the unfinished last one."""

    path: Path
    line: int
    reason: str
    torn: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lines:
    """The sound records of a file in order, what is damaged, and how many bytes the sound head takes."""

    records: tuple[dict[str, Any], ...]
    damage: tuple[Damage, ...]
    sound_bytes: int


def _clock() -> int:
    return time.time_ns() // 1_000_000


class CheckpointStore(Protocol):
    """Where a journal keeps checkpoints: `harness.checkpoint.Checkpoints`."""

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None: ...

    def resume(self) -> Mapping[str, Any] | None: ...


class Journal:
    """Writer of a trial's journal; implements `TrialSink`. One writer a directory at a time.

    Opening continues what is there: a torn tail is cut off. Raises OSError when the disk refuses (what was committed
    stays readable), ValueError when the journal is damaged elsewhere than at its end. `held_out` says of a question
    whether it is about something no training question mentions.
    """

    def __init__(
        self,
        directory: str | Path,
        clock: Callable[[], int] = _clock,
        held_out: Callable[[Question], bool] | None = None,
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._held_out, self._checkpoints = held_out, checkpoints
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._metrics = LineLog(self.directory / METRICS, clock)
        try:
            self._events = LineLog(self.directory / EVENTS, clock)
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
        self._end({"status": "finished", "key": key, "final": {k: _encode(v) for k, v in sorted(final.items())}})

    def fail(self, key: str, error: str) -> None:
        """Mark the trial failed; `error` is the traceback, its last line what people read first."""
        self._end({"status": "failed", "key": key, "error": error})

    def _end(self, result: dict[str, Any]) -> None:
        self.close()
        body = {**result, "ts": self._clock()}
        write_atomically(self.directory / RESULT, (seal(body) + "\n").encode())

    def close(self) -> None:
        self._metrics.close()
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()


class LineLog:
    """Appends sealed, numbered, stamped lines to a file; opening it cuts off a torn tail. Raises as `Journal` does."""

    def __init__(self, path: Path, clock: Callable[[], int] = _clock) -> None:
        self.path, self._clock = path, clock
        found = read_lines(path)
        serious = [d for d in found.damage if not d.torn]
        if serious:
            raise ValueError(f"damaged journal: {serious[0]}")
        self._n = len(found.records)
        self._file: BinaryIO = path.open("ab")
        self._dirty = False
        if found.damage:
            self._file.truncate(found.sound_bytes)
            self.sync(force=True)

    @property
    def length(self) -> int:
        """Lines written so far."""
        return self._n

    def append(self, body: dict[str, Any]) -> None:
        line = seal({"n": self._n, **body, "ts": self._clock()})
        self._file.write(line.encode() + b"\n")
        self._n += 1
        self._dirty = True

    def sync(self, force: bool = False) -> None:
        if self._dirty or force:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._dirty = False

    def close(self) -> None:
        if not self._file.closed:
            try:
                self.sync()
            finally:
                self._file.close()

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


def rewind(directory: str | Path, step: int, lines: Mapping[str, int]) -> None:
    """Cut an unfinished trial's journal back to where it was after `step`: the first `lines` of each file."""
    root = Path(directory)
    (root / RESULT).unlink(missing_ok=True)
    for name, n in lines.items():
        path = root / name
        head = b"".join(path.read_bytes().splitlines(keepends=True)[:n]) if path.exists() else b""
        if not path.exists() or path.stat().st_size != len(head):
            write_atomically(path, head)
    for path in (root / EPISODES).glob("step-*.parquet"):
        if int(path.name.split("-")[1]) > step:
            path.unlink()


def read_lines(path: str | Path) -> Lines:
    """Read a journal file; a missing one is empty. Damage is reported, never raised."""
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raw = b""
    records: list[dict[str, Any]] = []
    damage: list[Damage] = []
    sound = position = 0
    parts = raw.split(b"\n")
    whole, tail = parts[:-1], parts[-1]
    for number, line in enumerate([*whole, tail] if tail else whole, start=1):
        complete = number <= len(whole)
        position += len(line) + complete
        record = unseal(line) if complete else None
        if record is None:
            torn = position == len(raw)
            reason = "checksum does not match" if complete else "unfinished line"
            damage.append(Damage(path, number, reason, torn))
        elif record.get("n") != number - 1:
            damage.append(Damage(path, number, f"line {record.get('n')} found where {number - 1} belongs"))
        else:
            records.append(record)
            sound = position if not damage else sound
    return Lines(tuple(records), tuple(damage), sound)


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
    lines = []
    for name in (METRICS, EVENTS):
        for record in read_lines(root / name).records:
            body = {k: v for k, v in record.items() if k not in ("ts", "crc")}
            if "values" in body:
                body["values"] = {k: v for k, v in body["values"].items() if not k.startswith(TIMING)}
            lines.append(_canonical(body))
    return "\n".join(lines).encode()


def seal(body: Mapping[str, Any]) -> str:
    """Canonical JSON of a body with its checksum as the last key."""
    text = _canonical({k: v for k, v in body.items() if k != "crc"})
    return f'{text[:-1]}{_CRC.decode()}{zlib.crc32(text.encode()):08x}"}}'


def unseal(line: bytes) -> dict[str, Any] | None:
    """The body (with its crc) of a sealed line, None if it is not sound."""
    body, mark, rest = line.removesuffix(b"\n").rpartition(_CRC)
    # The checksum is of the bytes as they stand: JSON reads 1E-5 and 1e-5, or a hex digit of either case, as the same.
    if not mark or rest != b'%08x"}' % zlib.crc32(body + b"}"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def decode(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers as they were before they were written."""
    return {name: float(value) for name, value in values.items()}


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content so that a reader, or a kill, finds the old or the new, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _encode(value: float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)
