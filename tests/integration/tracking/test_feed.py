"""The thread that follows journals into MLflow: patient while something moves, last in line, stopped by no trial."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.runs.journal import METRICS, RESULT
from harness.runs.jsonl import LineLog
from harness.runs.layout import ATTEMPTS, INFO, RunFolder
from harness.sweep import mlflow_writer
from harness.tracking import default_uri, replay
from harness.tracking.client import connect
from tests.integration.tracking.test_replay import make, seen


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
    monkeypatch.setattr(mlflow_writer, "Tracker", SlowTracker)
    return RunFolder(tmp_path)


def begin(folder: RunFolder, *names: str) -> None:
    for name in names:
        (folder.trials / name).mkdir(parents=True)
        (folder.trials / name / INFO).write_text("{}")
        with LineLog(folder.trials / name / ATTEMPTS) as log:
            log.append({"event": "start"})


def test_what_is_imported_is_no_garbage_while_it_writes_and_may_be_after(folder, monkeypatch):
    begin(folder, "a")
    frozen = []
    monkeypatch.setattr(SlowTracker, "sync", lambda self, trial: frozen.append(gc.get_freeze_count()))
    feeder = mlflow_writer.Feeder(folder, "", "e")
    feeder.start()
    assert feeder.close("FINISHED", []) == ""
    assert min(frozen) > 0 == gc.get_freeze_count()


def test_closing_waits_for_a_long_queue_that_moves(folder):
    begin(folder, *"abcd")
    feeder = mlflow_writer.Feeder(folder, "", "")
    feeder.start()
    assert feeder.close("FINISHED", [], patience_s=0.7) == ""  # less than the 1.2 s that it takes
    assert SlowTracker.done == [*"abcd", "FINISHED"]


def test_closing_gives_up_on_a_store_that_stands_still(folder):
    begin(folder, "a", "stuck")
    feeder = mlflow_writer.Feeder(folder, "", "")
    feeder.start()
    begun = time.monotonic()
    assert feeder.close("FINISHED", [], patience_s=0.7) == "it did not answer in time"
    assert time.monotonic() - begun < 10


def test_trials_come_first(folder):
    begin(folder, "a")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    feeder = mlflow_writer.Feeder(folder, "", "")
    feeder.start()
    feeder.close("FINISHED", [])
    assert max(mlflow_writer.NICENESS, before) <= SlowTracker.niceness
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


class Sulking(SlowTracker):
    """Takes no trial named `refused`, and no time."""

    def sync(self, trial: Path) -> bool:
        if trial.name == "refused":
            raise ValueError("not this one")
        self.done.append(trial.name)
        return False


def test_a_trial_that_is_refused_keeps_neither_the_others_nor_the_end_from_being_written(folder, monkeypatch):
    monkeypatch.setattr(mlflow_writer, "Tracker", Sulking)
    begin(folder, "a", "refused", "z")
    feeder = mlflow_writer.Feeder(folder, "", "")
    feeder.start()
    assert feeder.close("FINISHED", []) == "refused: not this one"
    assert Sulking.done[:3] == ["a", "z", "FINISHED"]


def test_the_last_pass_comes_a_while_after_the_one_that_failed(folder, monkeypatch):
    passes: list[float] = []

    class Failing(SlowTracker):
        def sync(self, trial: Path) -> bool:
            passes.append(time.monotonic())
            raise ValueError("not yet")

    monkeypatch.setattr(mlflow_writer, "Tracker", Failing)
    monkeypatch.setattr(mlflow_writer, "LAST_PAUSE_S", 0.5)
    begin(folder, "a")
    feeder = mlflow_writer.Feeder(folder, "", "")
    feeder._closing.set()
    feeder._run()
    assert len(passes) == mlflow_writer.LAST_PASSES
    assert passes[1] - passes[0] >= 0.5


def test_a_store_that_takes_long_to_refuse_is_left_for_the_next_pass(folder, monkeypatch):
    monkeypatch.setattr(mlflow_writer, "Tracker", Sulking)
    monkeypatch.setattr(mlflow_writer, "LONGEST_TROUBLE_S", 0.0)
    begin(folder, "refused", "z")
    feeder = mlflow_writer.Feeder(folder, "", "")
    assert feeder._write() == "refused: not this one"
    assert Sulking.done == []
    feeder._write()
    assert Sulking.done == ["z"]  # first now


def test_a_run_that_somebody_deletes_while_its_trial_runs_is_made_anew(tmp_path):
    whole = make(tmp_path, "learns", "learns")
    connect(default_uri(whole.root.parent))
    folder = RunFolder(shutil.copytree(whole.root.parent, tmp_path / "other" / "runs") / "demo")
    replay(whole.root)
    trials = sorted(folder.trials.iterdir())
    journals = [(trial / METRICS).read_bytes() for trial in trials]
    for trial, journal in zip(trials, journals, strict=True):
        (trial / RESULT).rename(trial / "later")
        (trial / METRICS).write_bytes(journal[: journal.index(b"\n") + 1])
    feeder = mlflow_writer.Feeder(folder, default_uri(folder.root.parent), "demo")
    assert feeder._write() == ""
    client = MlflowClient(default_uri(folder.root.parent))
    [deleted] = client.search_runs(["1"], "tags.arm = 'gspo'")
    client.delete_run(deleted.info.run_id)
    for trial, journal in zip(trials, journals, strict=True):
        (trial / METRICS).write_bytes(journal)
        (trial / "later").rename(trial / RESULT)
    assert trials[0].name.startswith("gspo_")
    feeder.start()
    assert feeder.close("FINISHED", []) == ""
    assert seen(folder) == seen(whole)
