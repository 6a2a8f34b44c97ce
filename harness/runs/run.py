"""`TrialRun`: one trial's folder, the only reader of what a trial leaves on disk (file names: `harness.runs.layout`).

Files are written by one process at a time (see `lock`): the trial's worker, through `harness.runs.journal.Journal`.
Reading needs no lock and is valid at any moment, also while the worker writes or after it was killed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.config import TrialSpec
from harness.runs import layout
from harness.runs.episode_store import EpisodePath, episode_files, episode_path
from harness.runs.jsonl import (
    Damage,
    LineLog,
    comparable_line,
    decode_numbers,
    read_lines,
    truncate_lines,
    unseal,
    write_atomically,
)
from harness.runs.layout import AttemptEvent
from harness.runs.lock import exclusive_lock
from harness.runs.records import MetricsLine, TrialInfo, TrialStatus, parse_trial_info

if TYPE_CHECKING:
    from harness.runs.checkpoint import Checkpoint, CheckpointFolder


@dataclass(frozen=True, slots=True)
class TrialRun:
    """A trial's folder: status, attempts, metrics, episodes, checkpoints, result, lock. It need not exist yet."""

    folder: Path

    def lock(self, wait_s: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """The right to write in the folder. Raises BusyError after `wait_s` seconds."""
        return exclusive_lock(self.folder, wait_s)

    # identity

    def exists(self) -> bool:
        """Whether the folder describes a trial."""
        return (self.folder / layout.INFO).is_file()

    def info(self) -> TrialInfo:
        """Raises OSError, or ValueError that names the file, when the folder is not a trial's."""
        path = self.folder / layout.INFO
        try:
            return parse_trial_info(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def prepare(
        self, spec: TrialSpec, code: str, labels: dict[str, str], preregistration: str = "", revision: str = ""
    ) -> None:
        """Create the folder with its configuration.

        `preregistration` (hash of the registered plan) and `revision` keep their values from the first attempt.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.attempts():
            before = self.info()
            preregistration, revision = before.preregistration, before.revision
        config = spec.config.model_dump(mode="json")
        identity = (spec.key, spec.name, spec.axes, labels, spec.seed)
        info = TrialInfo(*identity, code, config, preregistration, revision, spec.arm, spec.trunk)
        self.write_info(info, config)

    def write_info(self, info: TrialInfo, config: Mapping[str, Any]) -> None:
        """Write `config` as config.yaml and `info` as trial.json. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / layout.CONFIG, to_yaml(config).encode())
        data = {"key": info.key, "name": info.name, "axes": info.axes, "labels": info.labels, "seed": info.seed}
        data |= {"code": info.code}
        data |= {"preregistration": info.preregistration} if info.preregistration else {}
        data |= {"revision": info.revision} if info.revision else {}
        data |= {"label": info.label} if info.label else {}
        data |= {"trunk": info.trunk} if info.trunk else {}
        text = json.dumps({**data, "config": info.settings}, indent=1) + "\n"
        write_atomically(self.folder / layout.INFO, text.encode())

    @property
    def config_file(self) -> Path:
        return self.folder / layout.CONFIG

    @property
    def output_file(self) -> Path:
        return self.folder / layout.OUTPUT

    # status and result

    def status(self, key: str) -> TrialStatus:
        """Status of the trial `key`. A finished trial with a damaged journal counts as running: it has to run again."""
        result = self.result()
        if result is not None and result["key"] == key:
            if result["status"] == "failed":
                return TrialStatus.FAILED
            try:
                return TrialStatus.FINISHED if self.metrics() else TrialStatus.RUNNING
            except ValueError:
                return TrialStatus.RUNNING
        return TrialStatus.RUNNING if self.attempts() else TrialStatus.WAITING

    def result(self) -> dict[str, Any] | None:
        """`result.json`, None if the trial has not ended or the file is damaged."""
        try:
            record = unseal((self.folder / layout.RESULT).read_bytes())
        except FileNotFoundError:
            return None
        if record is not None and "final" in record:
            record["final"] = decode_numbers(record["final"])
        return record

    def error_line(self) -> str:
        """The last line of a failed trial's error, which names type and message; "" without one."""
        lines = str((self.result() or {}).get("error", "")).splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def diverged(self, key: str) -> str | None:
        """Where the trial `key` diverged, as "step 3: the loss"; None if it did not."""
        result = self.result()
        found = result.get("diverged") if result is not None and result["key"] == key else None
        return None if found is None else f"step {found['step']}: {found['quantity']}"

    def remove_result(self) -> None:
        (self.folder / layout.RESULT).unlink(missing_ok=True)

    # attempts

    @property
    def attempts_file(self) -> Path:
        return self.folder / layout.ATTEMPTS

    def attempts(self) -> tuple[dict[str, Any], ...]:
        """Starts of the trial, oldest first; they survive restarts."""
        return tuple(r for r in read_lines(self.attempts_file).records if r["event"] == AttemptEvent.START)

    def attempt_log(self) -> LineLog:
        """`attempts.jsonl`, open for appending. Raises as LineLog does."""
        return LineLog(self.attempts_file)

    def continues_journal(self) -> bool:
        """Whether the next attempt continues the last one's journal, because that was killed before it ended."""
        decisive = (AttemptEvent.START, AttemptEvent.RESTARTED, AttemptEvent.JOURNAL_DAMAGED)
        events = [r["event"] for r in read_lines(self.attempts_file).records if r["event"] in decisive]
        return bool(events) and events[-1] == AttemptEvent.START

    def journal_started(self) -> int:
        """When the present journal was started (ms). A resumed trial keeps the value; a failed one that is started
        again, or one whose replay diverged, has a new one. Raises IndexError before the first attempt."""
        starting = (AttemptEvent.START, AttemptEvent.DIVERGED)
        records = read_lines(self.attempts_file).records
        started = [int(r["ts"]) for r in records if r["event"] in starting and not r.get("continues")]
        return started[-1]  # not the maximum: attempts may have run on machines whose clocks differ

    # journal

    def metrics(self) -> list[MetricsLine]:
        """Metrics in order of writing. Raises ValueError on damage (see `damage`)."""
        found = read_lines(self.folder / layout.METRICS)
        for damage in found.damage:
            if not damage.torn or self._has_finished():
                raise ValueError(f"damaged journal: {damage}")
        return [MetricsLine(r["step"], decode_numbers(r["values"]), r["ts"]) for r in found.records]

    def readable_metrics(self) -> list[MetricsLine]:
        """Metrics in order of writing, damaged lines left out."""
        records = read_lines(self.folder / layout.METRICS).records
        return [MetricsLine(r["step"], decode_numbers(r["values"]), r["ts"]) for r in records]

    def events(self) -> list[dict[str, Any]]:
        """Events {"kind", "fields", "ts", …} in order of writing, damaged lines left out."""
        return list(read_lines(self.folder / layout.EVENTS).records)

    def system_metrics(self) -> list[MetricsLine]:
        """CPU and memory of the worker; `step` counts lines. Damaged lines are left out."""
        records = read_lines(self.folder / layout.SYSTEM).records
        return [MetricsLine(r["n"], decode_numbers(r["values"]), r["ts"]) for r in records]

    def system_log(self) -> LineLog:
        """`system.jsonl`, open for appending. Raises as LineLog does."""
        return LineLog(self.folder / layout.SYSTEM)

    def comparable_journal(self) -> bytes:
        """Metrics and events without time stamps and `time/…` metrics: equal bytes for equal runs."""
        records = [r for name in (layout.METRICS, layout.EVENTS) for r in read_lines(self.folder / name).records]
        return "\n".join(map(comparable_line, records)).encode()

    def fingerprint(self) -> int:
        """A number that changes when metrics, result or attempts do."""
        marks = []
        for name in (layout.METRICS, layout.RESULT, layout.ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                found = (self.folder / name).stat()
                marks.append((name, found.st_size, found.st_mtime_ns, found.st_ino))
        return hash(tuple(marks))

    def damage(self) -> list[str]:
        """`file:line: reason` of the first damage of each journal file. A torn last line is none, as a kill leaves it,
        unless the trial has finished."""
        return [f"{d.path.name}:{d.line}: {d.reason}" for d in self._damage()]

    def truncate_damage(self) -> None:
        """Truncate each damaged journal file before its first damaged line."""
        for damage in self._damage():
            truncate_lines(damage.path, damage.line - 1)

    def reset_journal(self) -> None:
        """Remove result, journal and episodes, so that the trial can run from its start; other files are kept."""
        for name in (layout.RESULT, layout.METRICS, layout.EVENTS, layout.SYSTEM):
            (self.folder / name).unlink(missing_ok=True)
        for path in (self.folder / layout.EPISODES).glob("*.parquet*"):
            path.unlink()

    def _damage(self) -> list[Damage]:
        found = (read_lines(self.folder / name).damage for name in (layout.METRICS, layout.EVENTS, layout.SYSTEM))
        whole = self._has_finished()
        return [serious[0] for damage in found if (serious := [d for d in damage if whole or not d.torn])]

    def _has_finished(self) -> bool:
        return (self.result() or {}).get("status") == "finished"

    # episodes and policies

    @property
    def episodes_folder(self) -> Path:
        return self.folder / layout.EPISODES

    def episode_files(self, step: int | None = None, split: str | None = None) -> list[EpisodePath]:
        """Episode files by step and split (default: all), in this order."""
        return episode_files(self.episodes_folder, step, split)

    def episode_path(self, step: int, split: str) -> Path:
        return episode_path(self.episodes_folder, step, split)

    def policies(self) -> list[Path]:
        """Folders of the policies that were kept, by step."""
        return sorted((self.folder / layout.POLICIES).glob("step-*"))

    def policy_path(self, step: int) -> Path:
        """Folder of the policy after `step` updates."""
        return self.folder / layout.POLICIES / f"step-{step:06d}"

    # checkpoints

    def checkpoints(self, key: str, resume_from: Checkpoint | None = None) -> CheckpointFolder:
        """Reader and writer of the checkpoints of the trial `key`."""
        from harness.runs.checkpoint import CheckpointFolder  # torch

        return CheckpointFolder(self.folder / layout.CHECKPOINTS, key, resume_from)

    def newest_checkpoint(self, key: str) -> tuple[Checkpoint | None, list[str]]:
        """The newest sound checkpoint that the journal reaches, and why newer ones are rejected."""
        lines = {}
        for name in (layout.METRICS, layout.EVENTS):
            found = read_lines(self.folder / name)
            lines[name] = found.damage[0].line - 1 if found.damage else len(found.records)
        return self.checkpoints(key).newest(lines)

    def keeps_state(self, info: TrialInfo) -> bool:
        """Whether the last state is there, of a trial that others branch from; true of any other."""
        if not info.settings.get("keep_state"):
            return True
        newest, _ = self.newest_checkpoint(info.key)
        return newest is not None and newest.step == info.settings["steps"]

    def end_checkpoints(self) -> None:
        """Remove the checkpoints of a finished trial, unless others branch from it."""
        if not self.info().settings.get("keep_state"):
            self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        """For a trial that starts from its beginning."""
        shutil.rmtree(self.folder / layout.CHECKPOINTS, ignore_errors=True)


def to_yaml(data: Any, width: int | None = None) -> str:
    """YAML as `yaml.safe_dump` writes it, by libyaml where available: a sweep may hold a thousand configurations."""
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=width)
    return text
