"""Ctrl-C and disks that refuse, wherever they strike: an exit status and a line, no traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.paths import python
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep import run
from harness.sweep.__main__ import main
from harness.sweep.mlflow_writer import MlflowWriter
from harness.sweep.run import INTERRUPTED, REFUSED
from harness.sweep.tune import TuneRun
from tests.support.console import counted
from tests.support.sweep_runner import SWEEP

ROOT = Path(__file__).parents[3]
DOOR = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background is told to ignore Ctrl-C
from harness.sweep.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def ctrl_c(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def stopped_line(runner) -> str:
    return (
        f"stopped; finished trials are kept. To resume: {python()} -m harness.sweep {runner.home / 'demo.yaml'}"
        f" --out {runner.home / 'runs'}"
    )


def test_ctrl_c_while_a_dry_run_times_its_step_ends_it_with_a_line(tmp_path):
    file = tmp_path / "demo.yaml"
    file.write_text(SWEEP)
    command = [sys.executable, "-c", DOOR, str(file), "--dry-run", "--out", str(tmp_path / "runs")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as door:  # fmt: skip
        assert door.stdout is not None
        timing = next(line for line in door.stdout if line.startswith("timing one step of"))
        os.killpg(door.pid, signal.SIGINT)
        out, err = door.communicate(timeout=120)
    # Python writes a line again whose writing was interrupted at its very end
    assert (door.returncode, out.removeprefix(timing).count("\n"), err) == (INTERRUPTED, 1, "")


def test_ctrl_c_while_the_file_is_checked_ends_with_a_line(monkeypatch, capsys):
    monkeypatch.setattr("harness.sweep.__main__.load_sweep", ctrl_c)
    assert main(["demo.yaml"]) == INTERRUPTED
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_while_folders_are_made_prints_how_to_resume(runner, monkeypatch):
    monkeypatch.setattr(TrialRun, "prepare", ctrl_c)
    assert runner("learns") == INTERRUPTED
    assert runner.printed == stopped_line(runner) + "\n"


@pytest.mark.parametrize("impatient", [False, True], ids=["waits", "presses again"])
def test_how_to_resume_is_printed_before_waiting_for_mlflow(runner, monkeypatch, impatient):
    lines: list[str] = []

    def close(self: MlflowWriter, status: str, reports: list[Path]) -> str:
        lines.append(f"MLflow: {status}")
        return ctrl_c() if impatient else ""

    monkeypatch.setattr(run, "print_redacted", lambda console, line: lines.append(line))
    monkeypatch.setattr(TuneRun, "start", ctrl_c)  # as soon as the screen stands
    monkeypatch.setattr(MlflowWriter, "start", lambda self: None)
    monkeypatch.setattr(MlflowWriter, "close", close)
    assert runner("learns") == INTERRUPTED
    assert lines.index(stopped_line(runner)) < lines.index("MLflow: KILLED")
    assert counted("\n".join(lines), 0, 6, 0, 0, 6)
    assert any("MLflow could not be written (interrupted)" in line for line in lines) == impatient
    assert sum("harness.sweep" in line for line in lines) == 1


def test_ctrl_c_while_the_report_is_drawn_still_ends_the_runs_in_mlflow(runner, monkeypatch):
    closed = []
    monkeypatch.setattr(TuneRun, "start", lambda self: self._ended.set())
    monkeypatch.setattr(TuneRun, "join", lambda self: None)
    monkeypatch.setattr(run, "report", ctrl_c)
    monkeypatch.setattr(MlflowWriter, "start", lambda self: None)
    monkeypatch.setattr(MlflowWriter, "close", lambda self, status, reports: closed.append(status) or "")
    assert runner("learns") == INTERRUPTED
    assert len(closed) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path, capsys):
    file = tmp_path / "demo.yaml"
    file.write_text(SWEEP)
    assert main([str(file), "--out", "/proc/nope"]) == REFUSED
    out, err = capsys.readouterr()
    assert str(file) in out
    assert "--out /proc/nope" in out
    assert "No such file or directory" in out
    assert out.count("\n") == 1
    assert err == ""


def test_a_full_disk_is_named(runner, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "sweep.yaml")

    monkeypatch.setattr(SweepFolder, "write_manifest", full)
    assert runner("learns") == REFUSED
    assert "sweep.yaml: No space left on device\n" in runner.printed
