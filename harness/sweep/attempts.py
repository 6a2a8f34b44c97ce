"""Attempts at a trial: which failures are tried again, and the trunk that has to have finished first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.runs.records import TrialInfo, TrialStatus
from harness.runs.run import TrialRun

if TYPE_CHECKING:
    from harness.runs.checkpoint import Checkpoint

MAX_FAILURES = 1
"""Restarts of a trial after an error or a killed worker."""


class TrialFailed(Exception):
    """Type and message of a trial's error, without secrets; the traceback is in its folder."""


class TrialRefused(TrialFailed):
    """A trial that another attempt would fail alike: its data, its prompts or its trunk cannot be used."""


def trunk_state(
    trial: TrialRun, info: TrialInfo, train: Callable[[TrialRun], None]
) -> tuple[Checkpoint, None] | tuple[None, TrialRefused]:
    """The last state of the trial that this one branches from, or why there will be none.

    `train` runs the trunk, unless it has finished, or waits for the process that is at it; raises TrialFailed. It is
    called until the trunk has failed for good, so that its arms are not tried again for an error of their trunk.
    """
    if Path(info.trunk).name != info.trunk:  # a prepared folder may be somebody else's
        return None, TrialRefused(f"its trunk {info.trunk!r} is no folder beside it")
    trunk = TrialRun(trial.folder.parent / info.trunk)
    its = trunk.info()
    prepared = trial.config_file.stat().st_mtime_ns // 10**6
    reason = ""
    for _ in range(1 + MAX_FAILURES):
        if _failed_for_good(trunk, prepared):
            break
        try:
            train(trunk)
            break
        except TrialFailed as error:
            reason = str(error)
    newest, _ = trunk.newest_checkpoint(its.key)
    if newest is None or trunk.status(its.key) is not TrialStatus.FINISHED:
        return None, TrialRefused(f"its trunk {its.name} failed: {trunk.error_line() or reason}")
    return newest, None


def _failed_for_good(trunk: TrialRun, since_ms: int) -> bool:
    """Whether no attempt is left since `since_ms`, when the sweep was prepared."""
    result = trunk.result()
    if result is None or result["status"] != "failed" or result["ts"] <= since_ms:
        return False
    attempts = sum(attempt["ts"] > since_ms for attempt in trunk.attempts())
    return "diverged" in result or result.get("refused", False) or attempts > MAX_FAILURES
