"""Append-only files of numbered, time-stamped, checksummed JSON lines, and atomic file writes.

    {"n": line, …, "ts": ms, "crc": hex}

`n` counts lines from 0, so a lost line shows; `crc` is the CRC-32 of the line's canonical JSON without `crc`; `ts` is
wall time in milliseconds since 1970. A number that JSON lacks is written as "nan", "inf" or "-inf". A torn last line,
left by a kill or a full disk, is dropped when a file is opened for appending; any other damage is reported by line.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

_CRC = b',"crc":"'
TIMING = "time/"
"""Metrics under this prefix measure wall time."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged line (1-based) and the reason; `torn` if it is the unfinished last one."""

    path: Path
    line: int
    reason: str
    torn: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Lines:
    """The sound records of a file in order, its damaged lines, and the length in bytes before the first of these."""

    records: tuple[dict[str, Any], ...]
    damage: tuple[Damage, ...]
    sound_bytes: int


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class LineLog:
    """Appends sealed, numbered, time-stamped lines to a file; opening it truncates a torn tail.

    With `replay_from`, the lines from that number on are expected again, from a resumed trial. An append that matches
    the existing line (in all but `time/…` metrics) is skipped, so a committed line never changes; the first mismatch
    truncates the file before that line and calls `on_divergence` with a description.

    Raises OSError when the disk refuses, ValueError when the file is damaged elsewhere than at its end.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], int] = now_ms,
        replay_from: int | None = None,
        on_divergence: Callable[[str], None] | None = None,
    ) -> None:
        self.path, self._clock, self._on_divergence = path, clock, on_divergence
        found = read_lines(path)
        serious = [d for d in found.damage if not d.torn]
        if serious:
            raise ValueError(f"damaged journal: {serious[0]}")
        self._expected = deque(found.records[replay_from:] if replay_from is not None else ())
        self._n = len(found.records) - len(self._expected)
        self._file: BinaryIO = path.open("ab")
        self._dirty = False
        if found.damage:
            self._file.truncate(found.sound_bytes)
            self.sync(force=True)

    @property
    def length(self) -> int:
        """Lines appended or replayed so far."""
        return self._n

    def append(self, body: dict[str, Any]) -> None:
        numbered = {"n": self._n, **body}
        if self._expected and comparable_line(self._expected[0]) == comparable_line(numbered):
            self._expected.popleft()
        else:
            self.drop_expected()
            line = seal({**numbered, "ts": self._clock()})
            self._file.write(line.encode() + b"\n")
            self._dirty = True
        self._n += 1

    def drop_expected(self) -> None:
        """Truncate the earlier lines that were not replayed, which is a divergence."""
        if self._expected:
            if self._on_divergence is not None:
                self._on_divergence(f"{self.path.name}:{self._n + 1}: replayed line differs")
            truncate_lines(self.path, self._n)
            self._expected.clear()

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


def truncate_lines(path: Path, n: int) -> None:
    """Keep the first `n` lines of a file. Durable on return."""
    with path.open("r+b") as file:
        for _ in range(n):
            file.readline()
        file.truncate(file.tell())
        file.flush()
        os.fsync(file.fileno())


def comparable_line(record: Mapping[str, Any]) -> str:
    """A line without time stamp, checksum and `time/…` metrics: equal text for equal runs."""
    body = {k: v for k, v in record.items() if k not in ("ts", "crc")}
    if "values" in body:
        body["values"] = {k: v for k, v in body["values"].items() if not k.startswith(TIMING)}
    return canonical(body)


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


def seal(body: Mapping[str, Any]) -> str:
    """Canonical JSON of a body with its checksum as the last key."""
    text = canonical({k: v for k, v in body.items() if k != "crc"})
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


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content atomically and durably: readers, also after a kill, see the old or the new content."""
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


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove temporary files and folders (of the file `name`) that killed writers left in a folder.

    For the folder's only writer, which holds its lock: no other process can own them, whatever its id is now.
    """
    for path in folder.glob(f".{name}.*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync_directory(path: Path) -> None:
    """Make a rename durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    """Numbers by name as JSON has them, sorted by name."""
    return {name: _json_number(float(value)) for name, value in sorted(values.items())}


def decode_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Inverse of `encode_numbers`."""
    return {name: float(value) for name, value in values.items()}


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def canonical(body: Mapping[str, Any]) -> str:
    """JSON without spaces, ASCII only: equal text for equal values."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
