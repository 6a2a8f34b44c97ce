"""The one thread that writes MLflow while trials run. A store that is down costs the trials nothing."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from harness.driver.layout import ATTEMPTS, INFO, RunFolder, stamp
from harness.tracking import Tracker, TrialViews

PERIOD_S = 2.0
SHARE = 0.02
"""Of one processor's time, which writing takes at most while trials run, up to this pause; what waits is written in
larger, cheaper pieces."""
LONGEST_WAIT_S = 10.0
LONGEST_PAUSE_S = 60.0
NOTHING_YET_S = 0.5
NICENESS = 5


class Feeder:
    """Follows a sweep's journals into MLflow. `trouble` says in one line why it cannot, empty while it can."""

    def __init__(self, folder: RunFolder, uri: str, experiment: str, views: TrialViews | None = None) -> None:
        self.trouble = ""
        self.address = ""
        self._folder, self._uri, self._experiment, self._views = folder, uri, experiment, views
        self._tracker: Tracker | None = None
        self._seen: dict[Path, int] = {}
        self._complete: set[Path] = set()  # not looked at again
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
        pause = PERIOD_S
        with contextlib.suppress(OSError):  # Linux gives every thread a niceness of its own: trials come first
            niceness = max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
        # MLflow's import is a second of work: not while trials prepare to begin
        while not any(self._folder.trials.glob(f"*/{ATTEMPTS}")) and not self._closing.wait(NOTHING_YET_S):
            pass
        while True:
            last, spent = self._closing.is_set(), time.thread_time()
            try:
                self._write()
                if last and self._end is not None and self._tracker is not None:
                    self._tracker.finish(*self._end)
                    self.address = self._tracker.address
                spent = time.thread_time() - spent
                self.trouble, pause = "", min(max(PERIOD_S, spent / SHARE), LONGEST_WAIT_S)
            except Exception as error:  # whatever the store raises, trials and journals go on
                self.trouble = " ".join(str(error).split())[:200] or type(error).__name__
                pause = min(2 * pause, LONGEST_PAUSE_S)
            if last:
                return
            self._closing.wait(pause)

    def _write(self) -> None:
        if self._tracker is None:
            self._tracker = Tracker(self._folder, self._uri, self._experiment, self._views)
            self._tracker.forget_others()
            self.address = self._tracker.address
        for path in sorted(self._folder.trials.glob(f"*/{INFO}")):
            trial = path.parent
            if trial in self._complete:
                continue
            mark = stamp(trial)
            if self._seen.get(trial) != mark:
                if self._tracker.sync(trial):
                    self._complete.add(trial)
                self._seen[trial] = mark
                self._progress += 1
