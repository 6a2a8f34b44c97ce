"""Data that a worker cannot use fail a trial once, with their message, however many workers it has."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.train import WorkerGroupError

from harness.config import code_version, expand, load_sweep
from harness.config.sweep_file import Resources
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.attempts import TrialFailed, TrialRefused
from harness.sweep.multi_worker import run_over_workers
from harness.sweep.worker import run_one, run_share
from harness.tasks.benchmarks import DataError

HERE = "tests.integration.sweep.test_refused_data"
ROOT = Path(__file__).parents[3]
MESSAGE = "DataError: nq.train.jsonl:7: `question` is empty"


def cannot_use_its_data(config, journal, *workers):
    raise DataError("nq.train.jsonl:7: `question` is empty")


def breaks(config, journal, *workers):
    raise ArithmeticError("no")


def of_two(rank: int) -> SimpleNamespace:
    return SimpleNamespace(size=2, rank=rank, gather=lambda value: [value, value])


def trainer(function: str, raised_by: tuple[int, ...], run: TrialRun):
    """Ray Train's trainer of two workers of which some raise; the others wait, and are killed."""

    class Trainer:
        def __init__(self, *_, **settings):
            self.failures = {}

        def fit(self):
            for rank in raised_by:
                try:
                    (run_one if rank == 0 else run_share)(run, f"{HERE}:{function}", of_two(rank))
                except TrialFailed as error:
                    self.failures[rank] = error
            raise WorkerGroupError("a worker failed", self.failures)

    return Trainer


@pytest.mark.parametrize("raised_by", [(0,), (1,), (0, 1), (1, 0)])
def test_one_worker_s_unusable_data_fail_the_trial_once_and_are_not_raised_to_ray(runner, monkeypatch, raised_by):
    trial, folder = runner.prepared()
    run = TrialRun(folder)
    monkeypatch.setattr("ray.train.torch.TorchTrainer", trainer("cannot_use_its_data", raised_by, run))
    run_over_workers(run, "", Resources(workers=2), {})
    assert run.status(trial.key) is TrialStatus.FAILED
    assert MESSAGE in run.error_line()
    assert run.error_line().endswith(" (worker 1 of 2)") == (0 not in raised_by)


def test_a_refusal_replaces_the_result_of_an_earlier_attempt(runner, monkeypatch):
    _, folder = runner.prepared()
    run = TrialRun(folder)
    with pytest.raises(TrialFailed):
        run_one(run, f"{HERE}:breaks")
    monkeypatch.setattr("ray.train.torch.TorchTrainer", trainer("cannot_use_its_data", (1,), run))
    run_over_workers(run, "", Resources(workers=2), {})
    assert MESSAGE in run.error_line()


def test_any_other_error_of_a_worker_is_raised_to_ray_which_tries_again(runner, monkeypatch):
    _, folder = runner.prepared()
    run = TrialRun(folder)
    for raised_by in ((0,), (1,)):
        monkeypatch.setattr("ray.train.torch.TorchTrainer", trainer("breaks", raised_by, run))
        with pytest.raises(WorkerGroupError):
            run_over_workers(run, "", Resources(workers=2), {})


def test_one_worker_alone_returns(runner):
    trial, folder = runner.prepared()
    run_one(TrialRun(folder), f"{HERE}:cannot_use_its_data")
    assert TrialRun(folder).status(trial.key) is TrialStatus.FAILED
    with pytest.raises(TrialRefused):
        run_one(TrialRun(folder), f"{HERE}:cannot_use_its_data", of_two(0))


TASK = """\
import os
from harness.types import Question

def questions(split):
    return [Question(f"{split}{n}", f"What is {n} plus {n}?", (str(2 * n),), suite="sums") for n in range(4)]

def is_right(answer, question):
    if os.environ.get("RANK") == "RANKED":
        raise ValueError("no table of right answers")
    return False
"""
SWEEP = """\
name: refuse
hypothesis: h
profile: tiny
fixed: {steps: 1, data: {source: task, train_suites: [sums], eval_suites: [sums], eval_questions: 4, eval_samples: 0},
        save.when: none}
parameters:
  data.task: {values: {first: FOLDER/rank0.py, second: FOLDER/rank1.py}}
seeds: 1
resources: {workers: 2}
"""


BUSY = "timed out during startup"
"""Of Ray, which gives a node 30 seconds, with no setting for more."""
STARTS_S, EACH_S = 1200.0, 1500.0


def swept_on_a_busy_machine(file: Path, out: Path) -> str:
    """Output of a sweep that fails. Where Ray could not start in time nothing was tried: the same command again."""
    command = [sys.executable, "-m", "harness.sweep", str(file), "--out", str(out)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(EACH_S)
    end = time.monotonic() + STARTS_S
    while True:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=EACH_S)
        shown = done.stdout + done.stderr
        if BUSY not in shown or time.monotonic() > end:
            assert done.returncode != 0, shown
            return shown


@pytest.mark.nightly
@pytest.mark.timeout(STARTS_S + EACH_S)
def test_ray_s_workers_of_which_one_cannot_use_its_data_fail_their_trial_once(tmp_path: Path) -> None:
    for rank in "01":
        (tmp_path / f"rank{rank}.py").write_text(TASK.replace("RANKED", rank))
    file = tmp_path / "refuse.yaml"
    file.write_text(SWEEP.replace("FOLDER", str(tmp_path)))
    shown = swept_on_a_busy_machine(file, tmp_path / "runs")
    for trial in expand(load_sweep(file), code_version()):
        run = SweepFolder(tmp_path / "runs" / "refuse").trial(trial)
        assert len(run.attempts()) == 1, shown
        assert "no table of right answers" in run.error_line()
        assert run.error_line() in " ".join(shown.split())
