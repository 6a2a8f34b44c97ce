"""Progress displays: lines and table for given progress."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.runs.records import TrialStatus
from harness.sweep.console import LiveTable, PlainLines, summary_line
from harness.sweep.status import TrialProgress, duration, time_left
from harness.sweep.tune import TuneRun
from tests.support.sweep_runner import Runner


def plain(*frames: list[TrialProgress]) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    with PlainLines(console, "demo", 2) as screen:
        for frame in frames:
            screen.show(frame)
    return console.file.getvalue().splitlines()


def trial(status: TrialStatus = TrialStatus.RUNNING, **values) -> TrialProgress:
    return TrialProgress(**{"name": "a", "status": status, "steps": 10, "attempt": 1, **values})


def test_plain_lines_show_each_event_once():
    waiting = trial(TrialStatus.WAITING, attempt=0)
    evaluated = trial(step=5, em=0.25, evaluated=5, reward=-0.5, parse_ok=0.75, seconds_per_step=2.0)
    done = trial(TrialStatus.FINISHED, step=10, em=0.5, evaluated=10, seconds_per_step=2.0)
    assert plain([waiting], [trial()], [trial()], [evaluated], [evaluated], [done], [done]) == [
        "a: started",
        "a: step 5/10, EM 0.250, reward -0.500, parse ok 0.750",
        "a: step 10/10, EM 0.500",
        "a: finished, EM 0.500. 1 of 1 trials finished",
    ]


def test_each_failed_attempt_is_shown_once_with_its_error_even_with_markup_in_it():
    frames = [[trial(TrialStatus.FAILED, attempt=n, error=f"ValueError: [red]{n}[/red]")] for n in (1, 1, 2, 2)]
    assert plain(*frames) == [f"a: attempt {n} failed: ValueError: [red]{n}[/red]" for n in (1, 2)]


def test_the_table_shows_every_running_trial_and_counts_what_it_has_no_room_for():
    console = Console(file=io.StringIO(), width=100, height=16, force_terminal=True, color_system=None)
    progress = [TrialProgress(f"t{i}", TrialStatus.WAITING, 10) for i in range(30)]
    progress[25] = trial(name="t25", step=3, em=0.125, seconds_per_step=60.0)
    progress[26] = trial(TrialStatus.FAILED, name="t26", attempt=2, error="KeyError: 'x'")
    with LiveTable(console, "demo", 2) as table:
        table.show(progress)
    shown = console.file.getvalue()
    assert "t26: attempt 2 failed: KeyError: 'x'" in shown
    assert "3/10" in shown
    assert "0.125" in shown
    assert "7 min" in shown
    assert "and 20 more" in shown


def test_time_left_is_the_work_left_over_the_lanes_but_never_less_than_the_longest_trial():
    running = trial(step=4, seconds_per_step=10.0)
    waiting = trial(TrialStatus.WAITING, attempt=0)
    assert time_left([waiting], 2) is None
    assert time_left([running], 2) == 60.0
    assert time_left([running, waiting, waiting], 2) == (60 + 100 + 100) / 2
    assert time_left([trial(TrialStatus.FINISHED, step=10, seconds_per_step=10.0)], 2) == 0


def test_the_summary_line_counts_trials_by_status():
    progress = [
        trial(TrialStatus.FINISHED),
        trial(step=5, seconds_per_step=1.0),
        trial(TrialStatus.FAILED),
        trial(TrialStatus.WAITING, attempt=0),
    ]
    assert summary_line(progress, 1) == "1 of 4 trials finished, 1 running, 1 failed, about 15 s left"


def test_durations_read_well():
    assert [duration(s) for s in (None, 0.4, 89, 91, 5340, 5401, 90000)] == [
        "", "0 s", "89 s", "2 min", "89 min", "1 h 30 min", "25 h 00 min",
    ]  # fmt: skip


def test_a_crash_of_ray_is_reported_without_a_traceback_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine runs out of memory: Ray's own loop raises (seen with ray 2.60)."""

    def fit(self: TuneRun) -> None:
        raise RuntimeError("Caught unexpected exception: 1 worker(s) were killed due to the node running low on memory")

    monkeypatch.setattr(TuneRun, "_fit", fit)
    runner = Runner(tmp_path)
    assert runner("tests.support.cheap_trials:learns") == 1
    assert "Ray stopped the sweep: Caught unexpected exception" in runner.printed
    assert "Traceback" not in runner.printed
    assert "0 of 6 trials finished" in runner.printed
