"""MLflow writer: one background thread that copies a sweep's journals to MLflow while trials run.

Trials never wait for it: a store that is down, slow or full costs them nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path

from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tracking import Tracker, TrialViews

PERIOD_S = 2.0
CPU_SHARE = 0.005
"""The most of one core that writing takes while trials run, up to the pause below; waiting lines are then written in
larger, cheaper batches."""
LONGEST_WAIT_S = 30.0
"""As often as MLflow's own page refreshes."""
LONGEST_BACKOFF_S = 60.0
NOT_STARTED_S = 0.5
NICENESS = 5
LONGEST_FAILURES_S = 20.0
"""The most time of a pass that trials which cannot be written may take: a silent server takes ten seconds for each."""
LAST_PASSES = 2
"""Passes at the end if there are errors, since no later pass would retry."""
LAST_PAUSE_S = 3.0
"""Between them: an error of a moment ago is likely to repeat."""


class MlflowWriter:
    """Copies a sweep's journals to MLflow. `error`: why the last pass failed, in one line; empty if it did not."""

    def __init__(self, folder: SweepFolder, uri: str, experiment: str, views: TrialViews | None = None) -> None:
        self.error = ""
        self.address = ""
        self._folder, self._uri, self._experiment, self._views = folder, uri, experiment, views
        self._tracker: Tracker | None = None
        self._written: dict[TrialRun, int] = {}  # fingerprint of the trial when it was last written
        self._complete: set[TrialRun] = set()
        self._failing: set[TrialRun] = set()  # tried last, so that they do not delay the others
        self._end: tuple[str, list[Path]] | None = None
        self._closing = threading.Event()
        self._progress = 0  # trials written so far
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, status: str, reports: list[Path], timeout_s: float = 120.0) -> str:
        """Write the rest and end the sweep's run. Returns the error that prevented it, "" if none did.

        Waits without limit while trials get written, and `timeout_s` seconds without progress.
        """
        self._end = (status, reports)
        self._closing.set()
        before = -1
        while self._thread.is_alive() and before != self._progress:
            before = self._progress
            self._thread.join(timeout_s)
        return "it did not answer in time" if self._thread.is_alive() else self.error

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            gc.unfreeze()

    def _follow(self) -> None:
        pause = PERIOD_S
        with contextlib.suppress(OSError):  # on Linux niceness is per thread: trials have priority
            niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        # importing MLflow is a second of work: not while the first trials start
        while not self._folder.any_started() and not self._closing.wait(NOT_STARTED_S):
            pass
        passes_left = LAST_PASSES
        while True:
            last, cpu_s = self._closing.is_set(), time.thread_time()
            passes_left -= last
            try:
                error = self._write()
                if last and self._end is not None and self._tracker is not None:
                    self._tracker.finish(*self._end)
                    self.address = self._tracker.address
            except Exception as raised:  # any error of the store; trials and journals do not depend on it
                error = _one_line(raised)
            cpu_s = time.thread_time() - cpu_s
            pause = (
                min(2 * pause, LONGEST_BACKOFF_S) if error else min(max(PERIOD_S, cpu_s / CPU_SHARE), LONGEST_WAIT_S)
            )
            self.error = error
            if last and not (error and passes_left):
                return
            if last:
                time.sleep(LAST_PAUSE_S)
            else:
                self._closing.wait(pause)

    def _write(self) -> str:
        """Bring every trial's run up to its journal. Returns the first error, "" if there was none."""
        if self._tracker is None:
            self._tracker = Tracker(self._folder, self._uri, self._experiment, self._views)
            self._tracker.delete_other_trials()
            self.address = self._tracker.address
            gc.freeze()  # MLflow's modules stay: searching them for garbage takes 0.2 s, once a trial
        error, failing_s = "", 0.0
        for trial in sorted(self._folder.trial_runs(), key=lambda trial: (trial in self._failing, trial.folder)):
            if trial in self._complete:
                continue
            fingerprint, start = trial.fingerprint(), time.monotonic()
            if self._written.get(trial) == fingerprint:
                continue
            try:
                if self._tracker.sync(trial):
                    self._complete.add(trial)
            except Exception as raised:  # perhaps of this trial alone: the others are tried too
                error = error or f"{trial.folder.name}: {_one_line(raised)}"
                self._failing.add(trial)
                failing_s += time.monotonic() - start
                if failing_s > LONGEST_FAILURES_S:
                    break
                continue
            self._failing.discard(trial)
            self._written[trial] = fingerprint
            self._progress += 1
        return error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
