"""Stored errors of trials and the line of them that is shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from analysis.load import load_frames
from harness.runs.journal import Journal
from harness.runs.run import TrialRun
from harness.sweep import run
from harness.sweep.attempts import TrialFailed
from harness.sweep.worker import error_report, run_one


def caught(error: BaseException) -> str:
    try:
        raise error
    except BaseException as raised:
        return error_report(raised)


def test_the_line_shown_of_a_long_message_is_its_first(runner):
    _, folder = runner.prepared()
    with pytest.raises(TrialFailed):
        run_one(TrialRun(folder), "tests.support.cheap_trials:fails_at_length")
    told = "RuntimeError: CUDA error: device-side assert triggered"
    assert TrialRun(folder).error_line() == told
    assert "to enable device-side assertions." in TrialRun(folder).result()["error"]
    assert list(load_frames(runner.folder.root).trials["reason"]) == [told]  # as reports say it


def test_an_error_report_has_its_summary_line_once_and_last():
    text = caught(ValueError("no"))
    assert text.startswith("Traceback")
    assert text.splitlines().count("ValueError: no") == 1
    assert text.rstrip().endswith("ValueError: no")
    assert caught(KeyboardInterrupt()).splitlines()[-1] == "KeyboardInterrupt"
    noted = ValueError("no")
    noted.add_note("while reading the file")
    assert caught(noted).splitlines()[-1] == "ValueError: no"


def test_the_error_line_of_a_bare_traceback_is_its_last(tmp_path):
    Journal(tmp_path).fail("k1", "Traceback\n  File …\nValueError: no\n")
    assert TrialRun(tmp_path).error_line() == "ValueError: no"


@pytest.mark.parametrize(
    ("free", "told"),
    [(1 << 30, "WorkerDied: Ran out of input"), (1000, "WorkerDied: no space left on the disk that holds ")],
)
def test_a_worker_death_on_a_full_disk_names_the_disk(runner, monkeypatch, free, told):
    trial, folder = runner.prepared()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    status = SimpleNamespace(poll=lambda: [SimpleNamespace(ended=False, attempt=1)])
    run.record_worker_deaths(
        [(trial, TrialRun(folder))], status, SimpleNamespace(error=None, reasons={folder.name: "Ran out of input"})
    )
    assert TrialRun(folder).error_line().startswith(told)
    assert "Ran out of input" in TrialRun(folder).error_line()
