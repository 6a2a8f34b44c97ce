"""Trials that another version of the code began: their numbers are worth hours, and are not thrown away unasked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config import TrialSpec
from harness.runs.layout import INFO, RunFolder, State, TrialInfo, attempts, locked, read_info, state_of
from harness.tracking.client import code_tags

SUPERSEDED = "superseded"
SHOWN = 12
"""Digits of a version or revision that are shown."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """What there is of other versions of the code in a sweep's folder."""

    infos: tuple[TrialInfo, ...]
    finished: int
    under_way: int

    def refusal(self, folder: RunFolder, code: str, rerun: str) -> list[str]:
        """Why the sweep does not go on with `code`, and the ways out; `rerun` is the command of the last of them."""
        codes = ", ".join(dict.fromkeys(info.code[:SHOWN] for info in self.infos))
        revisions = dict.fromkeys(info.revision for info in self.infos if info.revision)
        known = f" (git {', '.join(revisions)})" if revisions else ""
        return [
            f"{folder.root} holds trials of another version of the code: {codes} → {code[:SHOWN]}",
            f"  {self.finished} finished, {self.under_way} under way; this version cannot go on with them",
            f"  to go on: the same command with the code that they began with{known}",
            "  to keep them and run this version too: give it a name of its own, name=…, or another folder, --out …",
            f"  to set them aside in {folder.root / SUPERSEDED} and run them anew: {rerun}",
        ]


def of_earlier_code(folder: RunFolder, trials: Sequence[TrialSpec]) -> Earlier | None:
    """Trials of other versions of the code that have finished or are under way; None where there are none.

    One that failed is not worth a question: it would be started again in any case.
    """
    found = []
    for path in _others(folder, trials):
        if (path / INFO).exists():
            info = read_info(path)
            found.append((info, state_of(path, info.key)))
    kept = [(info, state) for info, state in found if state in (State.FINISHED, State.BEGUN)]
    if not kept:
        return None
    finished = sum(state is State.FINISHED for _, state in kept)
    return Earlier(tuple(info for info, _ in kept), finished, len(kept) - finished)


def supersede(folder: RunFolder, trials: Sequence[TrialSpec]) -> int:
    """Move trials that are not of the present sweep and code aside; how many had begun. Raises BusyError."""
    moved = 0
    for path in _others(folder, trials):
        moved += bool(attempts(path))
        target = folder.root / SUPERSEDED / path.name
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            target = target.with_name(f"{target.name}.{time.time_ns()}")
        with locked(path / ".lock"):
            path.rename(target)
    return moved


def revision() -> str:
    """Where the sources stand in git, in words; empty outside a checkout."""
    tags = code_tags()
    if not tags:
        return ""
    changed = " and changes that were not committed" if tags["git_dirty"] == "true" else ""
    return tags["mlflow.source.git.commit"][:SHOWN] + changed


def _others(folder: RunFolder, trials: Sequence[TrialSpec]) -> list[Path]:
    wanted = {trial.directory for trial in trials}
    return [path for path in sorted(folder.trials.glob("*")) if path.name not in wanted and path.is_dir()]
