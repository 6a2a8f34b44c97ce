"""The thread that follows journals into MLflow: patient while something moves, and last in line for the processor."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from harness.driver import feed
from harness.driver.layout import ATTEMPTS, INFO, RunFolder
from harness.lines import LineLog


class SlowTracker:
    """Takes its time for every trial; stops for ever at one named `stuck`."""

    address = "/#"
    done: list[str]
    niceness = 0

    def __init__(self, *settings: object) -> None:
        type(self).done = []

    def forget_others(self) -> None: ...

    def sync(self, trial: Path) -> bool:
        type(self).niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        time.sleep(60 if trial.name == "stuck" else 0.3)
        self.done.append(trial.name)
        return False

    def finish(self, status: str, reports: list[Path]) -> None:
        self.done.append(status)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> RunFolder:
    monkeypatch.setattr(feed, "Tracker", SlowTracker)
    return RunFolder(tmp_path)


def begin(folder: RunFolder, *names: str) -> None:
    for name in names:
        (folder.trials / name).mkdir(parents=True)
        (folder.trials / name / INFO).write_text("{}")
        with LineLog(folder.trials / name / ATTEMPTS) as log:
            log.append({"event": "start"})


def test_closing_waits_for_a_long_queue_that_moves(folder):
    begin(folder, *"abcd")
    feeder = feed.Feeder(folder, "", "")
    feeder.start()
    assert feeder.close("FINISHED", [], patience_s=0.7) == ""  # less than the 1.2 s that it takes
    assert SlowTracker.done == [*"abcd", "FINISHED"]


def test_closing_gives_up_on_a_store_that_stands_still(folder):
    begin(folder, "a", "stuck")
    feeder = feed.Feeder(folder, "", "")
    feeder.start()
    begun = time.monotonic()
    assert feeder.close("FINISHED", [], patience_s=0.7) == "it did not answer in time"
    assert time.monotonic() - begun < 10


def test_trials_come_first(folder):
    begin(folder, "a")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    feeder = feed.Feeder(folder, "", "")
    feeder.start()
    feeder.close("FINISHED", [])
    assert max(feed.NICENESS, before) <= SlowTracker.niceness
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
