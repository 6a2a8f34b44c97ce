"""`SweepFolder`: a sweep's folder, with its manifest, identity, lock and trials."""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import yaml

from harness.config import SweepSpec, TrialSpec, flatten
from harness.runs.jsonl import sync_directory, write_atomically
from harness.runs.layout import ATTEMPTS, IDENTITY, INFO, MANIFEST, REPORT, RESULT, SUPERSEDED, TRIALS
from harness.runs.lock import exclusive_lock
from harness.runs.run import TrialRun, to_yaml

_FREE = frozenset({"tracking", "resources", "overrides", "preregistration", "varied", "labels"})
"""Parts of a resolved sweep that may change between two runs of it, or follow from the others."""


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """One sweep's folder, which need not exist yet."""

    root: Path

    @property
    def manifest(self) -> Path:
        return self.root / MANIFEST

    @property
    def trials(self) -> Path:
        return self.root / TRIALS

    @property
    def report(self) -> Path:
        return self.root / REPORT

    @property
    def superseded(self) -> Path:
        return self.root / SUPERSEDED

    def trial(self, spec: TrialSpec) -> TrialRun:
        return TrialRun(self.trials / spec.directory)

    def trial_runs(self) -> list[TrialRun]:
        """Trials that were prepared, by folder name."""
        return [TrialRun(path.parent) for path in sorted(self.trials.glob(f"*/{INFO}"))]

    def any_started(self) -> bool:
        """Whether any trial was ever started."""
        return any(self.trials.glob(f"*/{ATTEMPTS}"))

    def damage(self) -> list[str]:
        """`trials/NAME/FILE:LINE: reason` of every damaged journal or result of a prepared trial."""
        return [f"{TRIALS}/{line}" for run in self.trial_runs() for line in damaged_files(run)]

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """The right to run or replay the sweep. Raises BusyError when another process has it."""
        return exclusive_lock(self.root)

    def differences(self, spec: SweepSpec) -> list[str]:
        """Settings (`name: before → now`) in which `spec` differs from the sweep that ran here; none before a start."""
        if not self.manifest.exists() or not self.any_started():
            return []
        before = flatten(yaml.safe_load(self.manifest.read_text(encoding="utf-8")))
        now = flatten(json.loads(json.dumps(spec.resolved())))
        names = [n for n in dict.fromkeys([*before, *now]) if n.split(".")[0] not in _FREE]
        absent = object()

        def shown(value: object) -> str:
            return "(absent)" if value is absent else json.dumps(value, ensure_ascii=False)

        return [
            f"{name}: {shown(before.get(name, absent))} → {shown(now.get(name, absent))}"
            for name in names
            if before.get(name, absent) != now.get(name, absent)
        ]

    def write_manifest(self, spec: SweepSpec) -> None:
        self.trials.mkdir(parents=True, exist_ok=True)
        data = json.loads(json.dumps(spec.resolved()))
        write_atomically(self.manifest, to_yaml(data, width=120).encode())

    def identity(self) -> str:
        """The folder's random identity, created on first use: one sweep file may be run in several folders.

        It moves with the folder, and a copy of the folder has the same.
        """
        path = self.root / IDENTITY
        if not path.exists():
            fresh = path.with_name(f".{IDENTITY}.{uuid.uuid4().hex}")
            write_atomically(fresh, f"{uuid.uuid4().hex}\n".encode())
            with contextlib.suppress(FileExistsError):  # another process was first
                path.hardlink_to(fresh)
            fresh.unlink()
            sync_directory(self.root)
        return path.read_text(encoding="utf-8").strip()


def damaged_files(run: TrialRun) -> list[str]:
    """`NAME/FILE:LINE: reason` of a trial's damaged journal files and result; none of a trial that is well."""
    found = [f"{run.folder.name}/{line}" for line in run.damage()]
    if (run.folder / RESULT).exists() and run.result() is None:
        found.append(f"{run.folder.name}/{RESULT}:1: not readable, or its checksum differs")
    return found
