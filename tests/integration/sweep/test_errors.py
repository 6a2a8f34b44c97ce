"""What is kept of a trial's error, and which line of it people read first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from analysis.load import load_frames
from harness.runs.journal import Journal, read_result
from harness.runs.layout import first_error
from harness.sweep import run
from harness.sweep.worker import TrialFailed, account, run_one


def caught(error: BaseException) -> str:
    try:
        raise error
    except BaseException as raised:
        return account(raised)


def test_the_line_shown_of_a_long_message_is_its_first(runner):
    _, folder = runner.prepared()
    with pytest.raises(TrialFailed):
        run_one(folder, "tests.support.cheap_trials:fails_at_length")
    told = "RuntimeError: CUDA error: device-side assert triggered"
    assert first_error(folder) == told
    assert "to enable device-side assertions." in read_result(folder)["error"]
    assert list(load_frames(runner.folder.root).trials["reason"]) == [told]  # as reports say it


def test_an_account_says_the_line_once_and_last():
    text = caught(ValueError("no"))
    assert text.startswith("Traceback")
    assert text.splitlines().count("ValueError: no") == 1
    assert text.rstrip().endswith("ValueError: no")
    assert caught(KeyboardInterrupt()).splitlines()[-1] == "KeyboardInterrupt"
    noted = ValueError("no")
    noted.add_note("while reading the file")
    assert caught(noted).splitlines()[-1] == "ValueError: no"


def test_of_an_error_that_was_kept_as_a_bare_traceback_the_last_line_is_shown(tmp_path):
    Journal(tmp_path).fail("k1", "Traceback\n  File …\nValueError: no\n")
    assert first_error(tmp_path) == "ValueError: no"


@pytest.mark.parametrize(
    ("free", "told"),
    [(1 << 30, "WorkerDied: Ran out of input"), (1000, "WorkerDied: no space left on the disk that holds ")],
)
def test_a_trial_that_ray_gave_up_on_a_full_disk_says_so(runner, monkeypatch, free, told):
    trial, folder = runner.prepared()
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    watch = SimpleNamespace(look=lambda: [SimpleNamespace(ended=False, attempt=1)])
    run._bury([(trial, folder)], watch, SimpleNamespace(error=None, reasons={folder.name: "Ran out of input"}))
    assert first_error(folder).startswith(told)
    assert "Ran out of input" in first_error(folder)
