"""Prepared trials run without Ray and without MLflow, and end as the driver's own do."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runs.layout import ATTEMPTS, INFO
from harness.runs.lock import exclusive_lock
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep import run_trials, worker
from harness.sweep.run import FINISHED
from tests.support.console import counted

ROOT = Path(__file__).parents[3]
LEARNS, FAILS = "tests.support.cheap_trials:learns", "tests.support.cheap_trials:gspo_fails"
ABSENT = """
import sys

sys.modules["ray"] = sys.modules["mlflow"] = None
from harness.sweep.run_trials import main
sys.exit(main(sys.argv[2:], sys.argv[1]))
"""


@pytest.fixture
def prepared(runner) -> list[Path]:
    assert runner("learns", prepare=True) == FINISHED
    return sorted(runner.folder.trials.iterdir())


def status(folder: Path) -> TrialStatus:
    run = TrialRun(folder)
    return run.status(run.info().key)


def without_ray(folders: list[Path], function: str = LEARNS) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ABSENT, function, *map(str, folders)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_processes_share_the_trials_and_the_sweep_takes_them_as_its_own(prepared, runner, ray_session):
    assert counted(runner.printed, 6, 0)
    both = [without_ray(prepared), without_ray(prepared[::-1])]
    finished = ""
    for process in both:
        printed, errors = process.communicate(timeout=200)
        assert process.returncode in (0, 1), errors  # 1: the other one was at work on a trial
        finished += printed
    assert finished.count(": finished, EM 0.") == 6  # each once, whoever was faster
    assert all(len((f / ATTEMPTS).read_text().splitlines()) == 1 for f in prepared)
    apart = {TrialRun(f).info().name: TrialRun(f).comparable_journal() for f in prepared}
    assert runner("learns") == FINISHED
    assert counted(runner.printed, 0, 6)
    assert "gsspo − grpo" in (runner.folder.root / "report" / "summary.txt").read_text()
    shutil.rmtree(runner.folder.root)
    assert runner("learns") == FINISHED
    assert {TrialRun(f).info().name: TrialRun(f).comparable_journal() for f in runner.folder.trials.iterdir()} == apart


def test_a_failure_leaves_the_others_and_sets_the_exit_status(prepared, capsys):
    assert run_trials.main([str(f) for f in prepared], FAILS) == 1
    printed = capsys.readouterr().out
    assert "gspo_seed0: failed: ArithmeticError: the loss is not finite at step 1" in printed
    assert "grpo_seed0: finished, EM 0.240" in printed
    assert sorted(map(status, prepared)) == ["failed"] * 2 + ["finished"] * 4
    assert run_trials.main([str(f) for f in prepared], LEARNS) == 0
    assert "grpo_seed0: already finished" in capsys.readouterr().out


def test_a_stopped_trial_has_not_failed_and_resumes(prepared, capsys):
    [folder] = [f for f in prepared if TrialRun(f).info().name == "gsspo_seed1"]
    assert run_trials.main([str(folder)], "tests.support.cheap_trials:is_stopped") == 130
    assert "to resume" in capsys.readouterr().err
    assert status(folder) is TrialStatus.RUNNING
    assert run_trials.main([str(folder)], LEARNS) == 0


def test_a_trial_that_runs_elsewhere_is_skipped(prepared, capsys):
    with exclusive_lock(prepared[0]):
        assert run_trials.main([str(f) for f in prepared[:2]], LEARNS) == 1
    assert f"{TrialRun(prepared[0]).info().name}: running in another process" in capsys.readouterr().out
    assert [status(f) for f in prepared[:2]] == ["waiting", "finished"]


def test_a_disk_that_refuses_a_trial_leaves_the_others(prepared, capsys, monkeypatch):
    def run_one(trial: TrialRun, function: str) -> None:
        if trial.folder == prepared[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return worker.run_one(trial, function)

    monkeypatch.setattr(run_trials, "run_one", run_one)
    assert run_trials.main([str(f) for f in prepared[:2]], LEARNS) == 1
    printed = capsys.readouterr().out
    assert f"{TrialRun(prepared[0]).info().name}: cannot be run: [Errno 28] No space left on device" in printed
    assert status(prepared[1]) is TrialStatus.FINISHED


def test_a_trial_s_error_is_printed_where_its_result_cannot_be_written(prepared, capsys, monkeypatch):
    def full(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(worker.Journal, "fail", full)
    assert run_trials.main([str(f) for f in prepared if TrialRun(f).info().name == "gspo_seed0"], FAILS) == 1
    assert "gspo_seed0: failed: ArithmeticError: the loss is not finite at step 1" in capsys.readouterr().out


def test_what_this_code_cannot_run_is_refused_before_anything_runs(prepared, tmp_path, capsys):
    info = json.loads((prepared[1] / INFO).read_text())
    (prepared[1] / INFO).write_text(json.dumps({**info, "code": "0" * 64}))
    assert run_trials.main([str(prepared[0]), str(prepared[1]), str(tmp_path / "none")], LEARNS) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line.startswith(str(f)) for line, f in zip(errors, [prepared[1], tmp_path / "none"], strict=True)] == [
        True
    ] * 2
    assert "another version of the code" in errors[0]
    assert "--prepare" in errors[1]
    assert status(prepared[0]) == "waiting"
