"""Whose a trial's folder is, which attempts count, and what an attempt finds of the one before."""

from __future__ import annotations

import errno
from functools import partial
from types import SimpleNamespace

import pytest

from harness.distributed.collective import ALONE
from harness.runs.journal import CHECKPOINTS, METRICS, Journal, read_result
from harness.runs.jsonl import LineLog
from harness.runs.layout import ATTEMPTS, DAMAGED, ENDED, START, State, attempts, goes_on, locked, origin
from harness.sweep import run, run_trials, worker
from harness.sweep.status import Watch, read_figures
from harness.sweep.worker import TrialFailed, run_one, run_share


def test_a_trial_that_another_process_is_at_work_on_is_not_buried(runner):
    trial, folder = runner.prepared()
    half_written = folder / "episodes" / ".step-000001-eval.parquet.1.tmp"
    half_written.parent.mkdir()
    half_written.touch()
    watch = SimpleNamespace(look=lambda: [SimpleNamespace(ended=False, attempt=1)])
    with locked(folder / ".lock"):
        run._bury([(trial, folder)], watch, SimpleNamespace(error=None, reasons={}))
    assert read_result(folder) is None
    assert half_written.exists()


def test_a_disk_without_any_room_does_not_keep_the_end_from_being_told(runner, monkeypatch):
    trial, folder = runner.prepared()
    watch = SimpleNamespace(look=lambda: [SimpleNamespace(ended=False, attempt=1)])

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run.Journal, "fail", full)
    run._bury([(trial, folder)], watch, SimpleNamespace(error=None, reasons={}))
    assert read_result(folder) is None


def test_a_process_with_other_code_than_the_trial_s_does_not_touch_it(runner):
    _, folder = runner.prepared(code="0" * 64)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for run_here in (run_one, partial(run_share, workers=ALONE)):
        with pytest.raises(TrialFailed, match="the code was changed after the sweep began"):
            run_here(folder, "tests.support.cheap_trials:learns")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_attempts_are_counted_whatever_the_clocks_of_their_machines_say(runner):
    trial, folder = runner.prepared()
    with LineLog(folder / ATTEMPTS, clock=lambda: 2_000) as log:
        log.append({"event": START})
    watch = Watch([(trial, folder)])
    assert watch.look()[0].state is State.NEW
    with LineLog(folder / ATTEMPTS, clock=lambda: 1_000) as log:  # a node whose clock is behind
        log.append({"event": START})
    Journal(folder).fail(trial.key, "ValueError: no")
    [figures] = watch.look()
    assert (figures.state, figures.attempt, figures.error) == (State.FAILED, 1, "ValueError: no")
    assert origin(folder) == 1_000  # of the attempt that wrote what is there


def test_a_pause_between_two_attempts_is_no_part_of_a_trials_pace(runner):
    trial, folder = runner.prepared()
    with LineLog(folder / ATTEMPTS) as log:
        log.append({"event": START})
    Journal(folder).metrics(0, {"time/step_s": 0.0, "time/eval_s": 30.0})
    moments = iter([0, 2_000, 5_000_000, 5_006_000])  # of steps 1 to 4; the driver was away after the second
    with LineLog(folder / METRICS, clock=lambda: next(moments)) as log:
        for step in range(1, 5):
            log.append({"step": step, "values": {"time/step_s": 2.0} | ({"time/eval_s": 4.0} if step == 4 else {})})
    assert read_figures(trial, folder, 0).seconds_per_step == 3.0


def test_what_ends_a_journal_is_known_after_a_kill_before_the_next_start(tmp_path):
    def says(*events: str) -> bool:
        with LineLog(tmp_path / ATTEMPTS) as log:
            for event in events:
                log.append({"event": event})
        return goes_on(tmp_path)

    assert not says()
    assert says(START)
    assert says("checkpoint not used")
    assert not says(DAMAGED)
    assert not says("checkpoint not used")
    assert says(START)
    assert not says(ENDED)


def test_a_failed_trial_that_is_killed_as_it_starts_again_still_begins_anew(runner, monkeypatch):
    _, folder = runner.prepared()
    with pytest.raises(TrialFailed):
        run_one(folder, "tests.support.cheap_trials:fails_at_length")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(worker, "newest_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            run_one(folder, "tests.support.cheap_trials:learns")
    (folder / "result.json").unlink()  # the kill may have come later too
    run_one(folder, "tests.support.cheap_trials:learns")
    assert [a.get("continues", False) for a in attempts(folder)] == [False, False]


def test_checkpoints_of_a_trial_that_was_killed_just_after_its_end_go(runner):
    _, folder = runner.prepared()
    run_one(folder, "tests.support.cheap_trials:learns")
    for again in (
        lambda: run_one(folder, "tests.support.cheap_trials:learns"),
        lambda: run_trials.main([str(folder)], "tests.support.cheap_trials:learns"),
        lambda: runner("learns", "objective.preset=grpo", "seeds=[0]", prepare=True),
    ):
        (folder / CHECKPOINTS).mkdir()
        again()
        assert not (folder / CHECKPOINTS).exists()
        assert len(attempts(folder)) == 1
