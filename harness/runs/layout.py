"""A sweep's folder.

    runs/<sweep>/sweep.yaml                 the sweep as resolved; a changed one is refused
    runs/<sweep>/sweep.id                   the folder's identity, by which MLflow's runs are known as its own
    runs/<sweep>/trials/<name>-<key8>/      config.yaml, trial.json, output.log, attempts.jsonl and the trial's journal
    runs/<sweep>/report/                    its report
    runs/<sweep>/superseded/                trials of an earlier version of the code, run anew: kept, counted nowhere

`trials/` holds trials of the present sweep and code, and no others.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from harness.config import SweepSpec, TrialConfig, TrialSpec, flatten
from harness.runs.journal import METRICS, RESULT, read_metrics, read_result
from harness.runs.jsonl import read_lines, sync_directory, write_atomically

ATTEMPTS = "attempts.jsonl"
START, DIFFERS, ENDED, DAMAGED = "start", "differs", "ended before", "journal damaged"
"""Kinds of its records."""
INFO = "trial.json"
CONFIG = "config.yaml"
OUTPUT = "output.log"
IDENTITY = "sweep.id"

_FREE = frozenset({"tracking", "resources", "overrides", "preregistration", "varied"})
"""Parts of a resolved sweep that may change between two runs of it, or follow from the others."""


class State(StrEnum):
    """How far a trial is, by what is on disk."""

    NEW = "waiting"
    BEGUN = "running"  # or killed: only a driver knows which
    FINISHED = "finished"
    FAILED = "failed"


class BusyError(Exception):
    """Another process is at work in the folder."""


@dataclass(frozen=True, slots=True)
class TrialInfo:
    """`trial.json`: what identifies a trial, for readers that have only the folder."""

    key: str
    name: str
    axes: dict[str, Any]
    labels: dict[str, str]
    seed: int
    code: str
    settings: dict[str, Any]
    """The configuration as written, which an older version of the code may have done."""
    preregistration: str = ""
    revision: str = ""
    """Where the sources stood in git when the trial began, in words; empty when that is not known."""

    @property
    def config(self) -> TrialConfig:
        """Raises ValueError for settings of another version of the code."""
        return TrialConfig.model_validate_json(json.dumps(self.settings))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one sweep's folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / "sweep.yaml"

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def trial(self, spec: TrialSpec) -> Path:
        return self.trials / spec.directory


def state_of(folder: Path, key: str) -> State:
    """State of a trial's folder. A finished trial whose journal is damaged counts as begun: it has to run again."""
    result = read_result(folder)
    if result is not None and result["key"] == key:
        if result["status"] == "failed":
            return State.FAILED
        try:
            return State.FINISHED if any(True for _ in read_metrics(folder)) else State.BEGUN
        except ValueError:
            return State.BEGUN
    return State.BEGUN if attempts(folder) else State.NEW


def attempts(folder: Path) -> tuple[dict[str, Any], ...]:
    """Starts of a trial's attempts, oldest first; they outlive its restarts."""
    return tuple(record for record in read_lines(folder / ATTEMPTS).records if record["event"] == START)


def goes_on(folder: Path) -> bool:
    """Whether the next attempt continues the journal of the last: it had begun, and was killed."""
    events = (record["event"] for record in reversed(read_lines(folder / ATTEMPTS).records))
    return next((event for event in events if event in (START, ENDED, DAMAGED)), None) == START


def origin(folder: Path) -> int:
    """When the trial began to write its present journal (ms): kills do not change it.

    A trial that failed and is started again, or that came to other numbers on its way back, begins anew.
    """
    records = read_lines(folder / ATTEMPTS).records
    began = [int(r["ts"]) for r in records if r["event"] in (START, DIFFERS) and not r.get("continues")]
    return began[-1]  # not the greatest: attempts may be of machines whose clocks differ


def stamp(folder: Path) -> int:
    """A number that changes when a trial's journal does."""
    marks = []
    for name in (METRICS, RESULT, ATTEMPTS):
        with contextlib.suppress(FileNotFoundError):
            found = (folder / name).stat()
            marks.append((name, found.st_size, found.st_mtime_ns, found.st_ino))
    return hash(tuple(marks))


def first_error(folder: Path) -> str:
    """The line of a failed trial's error that says what went wrong."""
    result = read_result(folder) or {}
    lines = [line.strip() for line in str(result.get("error", "")).splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def prepare_trial(
    folder: Path,
    spec: TrialSpec,
    code: str,
    labels: dict[str, str],
    preregistration: str = "",
    revision: str = "",
) -> None:
    """Make a trial's folder with its configuration, if it is not there.

    `preregistration` (the hash of what was fixed beforehand) and `revision` stay as they were when the trial began.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if attempts(folder):
        before = read_info(folder)
        preregistration, revision = before.preregistration, before.revision
    config = spec.config.model_dump(mode="json")
    write_atomically(folder / CONFIG, _dump(config).encode())
    info = {"key": spec.key, "name": spec.name, "axes": spec.axes, "labels": labels, "seed": spec.seed, "code": code}
    info |= {"preregistration": preregistration} if preregistration else {}
    info |= {"revision": revision} if revision else {}
    write_atomically(folder / INFO, (json.dumps({**info, "config": config}, indent=1) + "\n").encode())


def read_info(folder: Path) -> TrialInfo:
    """Raises OSError or ValueError when the folder is not a trial's."""
    data = json.loads((folder / INFO).read_text(encoding="utf-8"))
    return TrialInfo(settings=data.pop("config"), **data)


def changes(folder: RunFolder, spec: SweepSpec) -> list[str]:
    """Differences between the sweep that ran in this folder and the one asked for; none where nothing has run."""
    if not folder.manifest.exists() or not any(folder.trials.glob(f"*/{ATTEMPTS}")):
        return []
    before = flatten(yaml.safe_load(folder.manifest.read_text(encoding="utf-8")))
    now = flatten(json.loads(json.dumps(spec.resolved())))
    names = [n for n in dict.fromkeys([*before, *now]) if n.split(".")[0] not in _FREE]
    absent = object()
    return [
        f"{name}: {_shown(before.get(name, absent), absent)} → {_shown(now.get(name, absent), absent)}"
        for name in names
        if before.get(name, absent) != now.get(name, absent)
    ]


def write_manifest(folder: RunFolder, spec: SweepSpec) -> None:
    folder.trials.mkdir(parents=True, exist_ok=True)
    data = json.loads(json.dumps(spec.resolved()))
    write_atomically(folder.manifest, _dump(data, width=120).encode())


def identity(folder: RunFolder) -> str:
    """The folder's own random word, made by whoever asks first: one sweep file may be run in several folders.

    It moves with the folder, and a copy of the folder counts as the same.
    """
    path = folder.root / IDENTITY
    if not path.exists():
        fresh = path.with_name(f".{IDENTITY}.{uuid.uuid4().hex}")
        write_atomically(fresh, f"{uuid.uuid4().hex}\n".encode())
        with contextlib.suppress(FileExistsError):  # another process was first
            path.hardlink_to(fresh)
        fresh.unlink()
        sync_directory(folder.root)
    return path.read_text(encoding="utf-8").strip()


@contextlib.contextmanager
def locked(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file for as long as the block runs; it falls with the process. Raises BusyError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(f"another process is at work in {path.parent}") from None
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def _dump(data: Any, width: int | None = None) -> str:
    """YAML as `yaml.safe_dump` writes it, by libyaml where there is one: a sweep may hold a thousand configurations."""
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def _shown(value: Any, absent: object) -> str:
    return "(absent)" if value is absent else json.dumps(value, ensure_ascii=False)
