"""Files of numbered, stamped, checksummed lines, and writes that are whole or not there.

    {"n": line, …, "ts": ms, "crc": hex}

`n` counts lines from 0, so a lost line shows; `crc` is the CRC-32 of the line's canonical JSON without `crc`; `ts` is
wall time in milliseconds since 1970. A torn last line, left by a kill or a full disk, is dropped when a file is opened
again; any other damage is reported by line.
"""

from __future__ import annotations

import json
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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class LineLog:
    """Appends sealed, numbered, stamped lines to a file; opening it cuts off a torn tail.

    With `first`, the lines from that one on are said again, by a trial that goes on from before them: while it says
    the same they stay as they are, to the byte, time stamps included, and nothing is written. Where it says something
    else (apart from what measures time) `differs` is told, and they are cut off from there.

    Raises OSError when the disk refuses, ValueError when the file is damaged elsewhere than at its end.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], int] = now_ms,
        first: int | None = None,
        differs: Callable[[str], None] | None = None,
    ) -> None:
        self.path, self._clock, self._differs = path, clock, differs
        found = read_lines(path)
        serious = [d for d in found.damage if not d.torn]
        if serious:
            raise ValueError(f"damaged journal: {serious[0]}")
        self._ahead = deque(found.records[first:] if first is not None else ())
        self._n = len(found.records) - len(self._ahead)
        self._file: BinaryIO = path.open("ab")
        self._dirty = False
        if found.damage:
            self._file.truncate(found.sound_bytes)
            self.sync(force=True)

    @property
    def length(self) -> int:
        """Lines said so far."""
        return self._n

    def append(self, body: dict[str, Any]) -> None:
        numbered = {"n": self._n, **body}
        if self._ahead and untimed(self._ahead[0]) == untimed(numbered):
            self._ahead.popleft()
        else:
            self.cut()
            line = seal({**numbered, "ts": self._clock()})
            self._file.write(line.encode() + b"\n")
            self._dirty = True
        self._n += 1

    def cut(self) -> None:
        """Drop the lines that were there before and have not been said again."""
        if self._ahead:
            if self._differs is not None:
                self._differs(f"{self.path.name}:{self._n + 1}: not what it was before")
            cut_off(self.path, self._n)
            self._ahead.clear()

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


def cut_off(path: Path, n: int) -> None:
    """Keep the first `n` lines of a file. Durable on return."""
    with path.open("r+b") as file:
        for _ in range(n):
            file.readline()
        file.truncate(file.tell())
        file.flush()
        os.fsync(file.fileno())


def untimed(record: Mapping[str, Any]) -> str:
    """A line without what measures time: equal text for what equal runs say."""
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


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what killed processes had begun to write in a folder (as `name`) and never gave its name, also folders.

    For the folder's one writer, before it writes: nobody else can be at work then, whatever process a number names now.
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


def canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
