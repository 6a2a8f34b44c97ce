"""MLflow writer: waits while trials get written, yields CPU to trials, and no trial stops it."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.runs.jsonl import LineLog
from harness.runs.layout import ATTEMPTS, INFO, METRICS, RESULT
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
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

    def delete_other_trials(self) -> None: ...

    def sync(self, trial: TrialRun) -> bool:
        type(self).niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        time.sleep(60 if trial.folder.name == "stuck" else 0.3)
        self.done.append(trial.folder.name)
        return False

    def finish(self, status: str, reports: list[Path]) -> None:
        self.done.append(status)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> SweepFolder:
    monkeypatch.setattr(mlflow_writer, "Tracker", SlowTracker)
    return SweepFolder(tmp_path)


def start_trials(folder: SweepFolder, *names: str) -> None:
    for name in names:
        (folder.trials / name).mkdir(parents=True)
        (folder.trials / name / INFO).write_text("{}")
        with LineLog(folder.trials / name / ATTEMPTS) as log:
            log.append({"event": "start"})


def test_imported_modules_are_frozen_against_garbage_collection_while_it_writes(folder, monkeypatch):
    start_trials(folder, "a")
    frozen = []
    monkeypatch.setattr(SlowTracker, "sync", lambda self, trial: frozen.append(gc.get_freeze_count()))
    writer = mlflow_writer.MlflowWriter(folder, "", "e")
    writer.start()
    assert writer.close("FINISHED", []) == ""
    assert min(frozen) > 0 == gc.get_freeze_count()


def test_closing_waits_for_a_long_queue_that_makes_progress(folder):
    start_trials(folder, *"abcd")
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    writer.start()
    assert writer.close("FINISHED", [], timeout_s=0.7) == ""  # less than the 1.2 s that it takes
    assert SlowTracker.done == [*"abcd", "FINISHED"]


def test_closing_times_out_without_progress(folder):
    start_trials(folder, "a", "stuck")
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    writer.start()
    begun = time.monotonic()
    assert writer.close("FINISHED", [], timeout_s=0.7) == "it did not answer in time"
    assert time.monotonic() - begun < 10


def test_the_thread_has_a_lower_priority_than_trials(folder):
    start_trials(folder, "a")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    writer.start()
    writer.close("FINISHED", [])
    assert max(mlflow_writer.NICENESS, before) <= SlowTracker.niceness
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


class Refusing(SlowTracker):
    """Takes no trial named `refused`, and no time."""

    def sync(self, trial: TrialRun) -> bool:
        if trial.folder.name == "refused":
            raise ValueError("not this one")
        self.done.append(trial.folder.name)
        return False


def test_a_refused_trial_prevents_neither_the_others_nor_the_end(folder, monkeypatch):
    monkeypatch.setattr(mlflow_writer, "Tracker", Refusing)
    start_trials(folder, "a", "refused", "z")
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    writer.start()
    assert writer.close("FINISHED", []) == "refused: not this one"
    assert Refusing.done[:3] == ["a", "z", "FINISHED"]


def test_the_last_pass_waits_after_one_that_failed(folder, monkeypatch):
    passes: list[float] = []

    class Failing(SlowTracker):
        def sync(self, trial: TrialRun) -> bool:
            passes.append(time.monotonic())
            raise ValueError("not yet")

    monkeypatch.setattr(mlflow_writer, "Tracker", Failing)
    monkeypatch.setattr(mlflow_writer, "LAST_PAUSE_S", 0.5)
    start_trials(folder, "a")
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    writer._closing.set()
    writer._run()
    assert len(passes) == mlflow_writer.LAST_PASSES
    assert passes[1] - passes[0] >= 0.5


def test_a_pass_ends_when_failing_trials_took_too_long(folder, monkeypatch):
    monkeypatch.setattr(mlflow_writer, "Tracker", Refusing)
    monkeypatch.setattr(mlflow_writer, "LONGEST_FAILURES_S", 0.0)
    start_trials(folder, "refused", "z")
    writer = mlflow_writer.MlflowWriter(folder, "", "")
    assert writer._write() == "refused: not this one"
    assert Refusing.done == []
    writer._write()
    assert Refusing.done == ["z"]  # first now


def test_a_run_deleted_while_its_trial_runs_is_created_again(tmp_path):
    whole = make(tmp_path, "learns", "learns")
    connect(default_uri(whole.root.parent))
    folder = SweepFolder(shutil.copytree(whole.root.parent, tmp_path / "other" / "runs") / "demo")
    replay(whole.root)
    trials = sorted(folder.trials.iterdir())
    journals = [(trial / METRICS).read_bytes() for trial in trials]
    for trial, journal in zip(trials, journals, strict=True):
        (trial / RESULT).rename(trial / "later")
        (trial / METRICS).write_bytes(journal[: journal.index(b"\n") + 1])
    writer = mlflow_writer.MlflowWriter(folder, default_uri(folder.root.parent), "demo")
    assert writer._write() == ""
    client = MlflowClient(default_uri(folder.root.parent))
    [deleted] = client.search_runs(["1"], "tags.arm = 'gspo'")
    client.delete_run(deleted.info.run_id)
    for trial, journal in zip(trials, journals, strict=True):
        (trial / METRICS).write_bytes(journal)
        (trial / "later").rename(trial / RESULT)
    assert trials[0].name.startswith("gspo_")
    writer.start()
    assert writer.close("FINISHED", []) == ""
    assert seen(folder) == seen(whole)
