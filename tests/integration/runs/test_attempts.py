"""Attempts of a trial: the lock, which attempts count, what an attempt finds of the one before."""

from __future__ import annotations

import errno
from functools import partial
from types import SimpleNamespace

import pytest

from harness.distributed.collective import ALONE
from harness.runs.journal import Journal
from harness.runs.jsonl import LineLog
from harness.runs.layout import ATTEMPTS, CHECKPOINTS, METRICS, AttemptEvent
from harness.runs.lock import exclusive_lock
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep import run, run_trials
from harness.sweep.attempts import TrialFailed
from harness.sweep.status import SweepStatus, read_progress
from harness.sweep.worker import run_one, run_share


def test_a_trial_locked_by_another_process_gets_no_worker_death(runner):
    trial, folder = runner.prepared()
    half_written = folder / "episodes" / ".step-000001-eval.parquet.1.tmp"
    half_written.parent.mkdir()
    half_written.touch()
    status = SimpleNamespace(poll=lambda: [SimpleNamespace(ended=False, attempt=1)])
    with exclusive_lock(folder):
        run.record_worker_deaths([(trial, TrialRun(folder))], status, SimpleNamespace(error=None, reasons={}))
    assert TrialRun(folder).result() is None
    assert half_written.exists()


def test_a_full_disk_leaves_a_dead_worker_s_trial_unfinished(runner, monkeypatch):
    trial, folder = runner.prepared()
    status = SimpleNamespace(poll=lambda: [SimpleNamespace(ended=False, attempt=1)])

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run.Journal, "fail", full)
    run.record_worker_deaths([(trial, TrialRun(folder))], status, SimpleNamespace(error=None, reasons={}))
    assert TrialRun(folder).result() is None


def test_a_process_with_other_code_than_the_trial_s_does_not_touch_it(runner):
    _, folder = runner.prepared(code="0" * 64)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for run_here in (run_one, partial(run_share, workers=ALONE)):
        with pytest.raises(TrialFailed, match="the code has changed"):
            run_here(TrialRun(folder), "tests.support.cheap_trials:learns")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_attempts_are_counted_in_order_even_with_wrong_clocks(runner):
    trial, folder = runner.prepared()
    with LineLog(folder / ATTEMPTS, clock=lambda: 2_000) as log:
        log.append({"event": AttemptEvent.START})
    status = SweepStatus([(trial, TrialRun(folder))])
    assert status.poll()[0].status is TrialStatus.WAITING
    with LineLog(folder / ATTEMPTS, clock=lambda: 1_000) as log:  # a node whose clock is behind
        log.append({"event": AttemptEvent.START})
    Journal(folder).fail(trial.key, "ValueError: no")
    [progress] = status.poll()
    assert (progress.status, progress.attempt, progress.error) == (TrialStatus.FAILED, 1, "ValueError: no")
    assert TrialRun(folder).journal_started() == 1_000  # of the attempt that wrote what is there


def test_a_pause_between_two_attempts_does_not_count_as_time_of_a_step(runner):
    trial, folder = runner.prepared()
    with LineLog(folder / ATTEMPTS) as log:
        log.append({"event": AttemptEvent.START})
    Journal(folder).metrics(0, {"time/step_s": 0.0, "time/eval_s": 30.0})
    moments = iter([0, 2_000, 5_000_000, 5_006_000])  # of steps 1 to 4; the driver was away after the second
    with LineLog(folder / METRICS, clock=lambda: next(moments)) as log:
        for step in range(1, 5):
            log.append({"step": step, "values": {"time/step_s": 2.0} | ({"time/eval_s": 4.0} if step == 4 else {})})
    assert read_progress(trial, TrialRun(folder), 0).seconds_per_step == 3.0


def test_a_kill_between_a_restart_s_decision_and_its_start_keeps_the_decision(tmp_path):
    def continues(*events: str) -> bool:
        with LineLog(tmp_path / ATTEMPTS) as log:
            for event in events:
                log.append({"event": event})
        return TrialRun(tmp_path).continues_journal()

    assert not continues()
    assert continues(AttemptEvent.START)
    assert continues(AttemptEvent.CHECKPOINT_REJECTED)
    assert not continues(AttemptEvent.JOURNAL_DAMAGED)
    assert not continues(AttemptEvent.CHECKPOINT_REJECTED)
    assert continues(AttemptEvent.START)
    assert not continues(AttemptEvent.RESTARTED)


def test_a_failed_trial_killed_while_it_restarts_still_starts_a_new_journal(runner, monkeypatch):
    _, folder = runner.prepared()
    with pytest.raises(TrialFailed):
        run_one(TrialRun(folder), "tests.support.cheap_trials:fails_at_length")

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(TrialRun, "newest_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            run_one(TrialRun(folder), "tests.support.cheap_trials:learns")
    (folder / "result.json").unlink()  # the kill may have come later too
    run_one(TrialRun(folder), "tests.support.cheap_trials:learns")
    assert [a.get("continues", False) for a in TrialRun(folder).attempts()] == [False, False]


def test_checkpoints_of_a_trial_killed_just_after_its_end_are_removed(runner):
    _, folder = runner.prepared()
    run_one(TrialRun(folder), "tests.support.cheap_trials:learns")
    for again in (
        lambda: run_one(TrialRun(folder), "tests.support.cheap_trials:learns"),
        lambda: run_trials.main([str(folder)], "tests.support.cheap_trials:learns"),
        lambda: runner("learns", "objective.preset=grpo", "seeds=[0]", prepare=True),
    ):
        (folder / CHECKPOINTS).mkdir()
        again()
        assert not (folder / CHECKPOINTS).exists()
        assert len(TrialRun(folder).attempts()) == 1
