"""The one thread that writes MLflow while trials run. A store that is down costs the trials nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from pathlib import Path

from harness.runs.layout import ATTEMPTS, INFO, RunFolder, stamp
from harness.tracking import Tracker, TrialViews

PERIOD_S = 2.0
SHARE = 0.005
"""Of one processor's time, which writing takes at most while trials run, up to this pause; what waits is written in
larger, cheaper pieces."""
LONGEST_WAIT_S = 30.0
"""As often as MLflow's own page looks for news."""
LONGEST_PAUSE_S = 60.0
NOTHING_YET_S = 0.5
NICENESS = 5
LONGEST_TROUBLE_S = 20.0
"""Time that trials which cannot be written may take of a pass: a server that is silent takes ten seconds for each."""
LAST_PASSES = 2
"""Passes at the end while there is trouble: nobody comes after them."""
LAST_PAUSE_S = 3.0
"""Between them: what failed a moment ago fails again."""


class Feeder:
    """Follows a sweep's journals into MLflow. `trouble` says in one line why it cannot, empty while it can."""

    def __init__(self, folder: RunFolder, uri: str, experiment: str, views: TrialViews | None = None) -> None:
        self.trouble = ""
        self.address = ""
        self._folder, self._uri, self._experiment, self._views = folder, uri, experiment, views
        self._tracker: Tracker | None = None
        self._seen: dict[Path, int] = {}
        self._complete: set[Path] = set()  # not looked at again
        self._refused: set[Path] = set()  # last in line, so that they keep nobody else waiting
        self._end: tuple[str, list[Path]] | None = None
        self._closing = threading.Event()
        self._progress = 0  # trials brought up to date so far
        self._thread = threading.Thread(target=self._run, name="mlflow-feed", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, status: str, reports: list[Path], patience_s: float = 120.0) -> str:
        """Write what is left and end the sweep's run. Returns why that could not be done, "" if it was.

        Waits as long as it takes while trials get written, and `patience_s` seconds where nothing moves.
        """
        self._end = (status, reports)
        self._closing.set()
        before = -1
        while self._thread.is_alive() and before != self._progress:
            before = self._progress
            self._thread.join(patience_s)
        return "it did not answer in time" if self._thread.is_alive() else self.trouble

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            gc.unfreeze()

    def _follow(self) -> None:
        pause = PERIOD_S
        with contextlib.suppress(OSError):  # Linux gives every thread a niceness of its own: trials come first
            niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        # MLflow's import is a second of work: not while trials prepare to begin
        while not any(self._folder.trials.glob(f"*/{ATTEMPTS}")) and not self._closing.wait(NOTHING_YET_S):
            pass
        left = LAST_PASSES
        while True:
            last, spent = self._closing.is_set(), time.thread_time()
            left -= last
            try:
                trouble = self._write()
                if last and self._end is not None and self._tracker is not None:
                    self._tracker.finish(*self._end)
                    self.address = self._tracker.address
            except Exception as error:  # whatever the store raises, trials and journals go on
                trouble = _told(error)
            spent = time.thread_time() - spent
            pause = min(2 * pause, LONGEST_PAUSE_S) if trouble else min(max(PERIOD_S, spent / SHARE), LONGEST_WAIT_S)
            self.trouble = trouble
            if last and not (trouble and left):
                return
            if last:
                time.sleep(LAST_PAUSE_S)
            else:
                self._closing.wait(pause)

    def _write(self) -> str:
        """Bring every trial up to its journal. Returns what kept one from it, "" if nothing did."""
        if self._tracker is None:
            self._tracker = Tracker(self._folder, self._uri, self._experiment, self._views)
            self._tracker.forget_others()
            self.address = self._tracker.address
            gc.freeze()  # MLflow's modules and others stay: to look through them for garbage takes 0.2 s, once a trial
        trouble, wasted = "", 0.0
        found = [path.parent for path in self._folder.trials.glob(f"*/{INFO}")]
        for trial in sorted(found, key=lambda trial: (trial in self._refused, trial)):
            if trial in self._complete:
                continue
            mark, begun = stamp(trial), time.monotonic()
            if self._seen.get(trial) == mark:
                continue
            try:
                if self._tracker.sync(trial):
                    self._complete.add(trial)
            except Exception as error:  # of this trial alone perhaps: the others go on
                trouble = trouble or f"{trial.name}: {_told(error)}"
                self._refused.add(trial)
                wasted += time.monotonic() - begun
                if wasted > LONGEST_TROUBLE_S:
                    break
                continue
            self._refused.discard(trial)
            self._seen[trial] = mark
            self._progress += 1
        return trouble


def _told(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
