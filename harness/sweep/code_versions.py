"""Trials of another code version in a sweep's folder: hours of work, which is set aside only on request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import TrialSpec
from harness.runs.records import TrialInfo, TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tracking.client import code_tags

SHOWN = 12
"""Digits of a version or revision that are shown."""


@dataclass(frozen=True, slots=True)
class OtherCodeTrials:
    """Started trials of other code versions, of which `finished` have finished and `unfinished` have not."""

    infos: tuple[TrialInfo, ...]
    finished: int
    unfinished: int

    def refusal(self, folder: SweepFolder, code: str, rerun: str) -> list[str]:
        """Why the sweep cannot resume with `code`, and the ways out; `rerun` is the command of the last of them."""
        codes = ", ".join(dict.fromkeys(info.code[:SHOWN] for info in self.infos))
        revisions = dict.fromkeys(info.revision for info in self.infos if info.revision)
        known = f" (git {', '.join(revisions)})" if revisions else ""
        return [
            f"{folder.root} holds trials of another code version: {codes} → {code[:SHOWN]}",
            f"  {self.finished} finished, {self.unfinished} unfinished; this version cannot resume them",
            f"  to resume: the same command with the code they started with{known}",
            "  to keep them and run this version too: give it its own name, name=…, or another folder, --out …",
            f"  to move them to {folder.superseded} and run them again: {rerun}",
        ]


def find_other_code(folder: SweepFolder, trials: Sequence[TrialSpec]) -> OtherCodeTrials | None:
    """Finished or unfinished trials of other code versions; None where there are none.

    Failed ones are left out: they would be restarted in any case.
    """
    found = []
    for run in _others(folder, trials):
        if run.exists():
            info = run.info()
            found.append((info, run.status(info.key)))
    kept = [(info, status) for info, status in found if status in (TrialStatus.FINISHED, TrialStatus.RUNNING)]
    if not kept:
        return None
    finished = sum(status is TrialStatus.FINISHED for _, status in kept)
    return OtherCodeTrials(tuple(info for info, _ in kept), finished, len(kept) - finished)


def set_aside(folder: SweepFolder, trials: Sequence[TrialSpec]) -> int:
    """Move trials that are not of the present sweep and code to `superseded/`; how many had started.

    Raises BusyError.
    """
    moved = 0
    for run in _others(folder, trials):
        moved += bool(run.attempts())
        target = folder.superseded / run.folder.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            target = target.with_name(f"{target.name}.{time.time_ns()}")
        with run.lock():
            run.folder.rename(target)
    return moved


def source_revision() -> str:
    """Git revision of the sources, with a note on uncommitted changes; empty outside a checkout."""
    tags = code_tags()
    if not tags:
        return ""
    changed = " and changes that were not committed" if tags["git_dirty"] == "true" else ""
    return tags["mlflow.source.git.commit"][:SHOWN] + changed


def _others(folder: SweepFolder, trials: Sequence[TrialSpec]) -> list[TrialRun]:
    wanted = {trial.directory for trial in trials}
    return [TrialRun(p) for p in sorted(folder.trials.glob("*")) if p.name not in wanted and p.is_dir()]
