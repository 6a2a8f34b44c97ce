"""Read-only sweep status, polled from trial journals for the progress display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config import TrialSpec
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """Progress of a trial. Numbers are None until known; `evaluated` is the step at which `em` was measured."""

    name: str
    status: TrialStatus
    steps: int
    attempt: int = 0
    step: int | None = None
    em: float | None = None
    evaluated: int | None = None
    reward: float | None = None
    parse_ok: float | None = None
    seconds_per_step: float | None = None
    error: str = ""
    diverged: bool = False

    @property
    def seconds_left(self) -> float | None:
        if self.seconds_per_step is None or self.step is None:
            return None
        return self.seconds_per_step * (self.steps - self.step)

    @property
    def ended(self) -> bool:
        return self.status in (TrialStatus.FINISHED, TrialStatus.FAILED)


class SweepStatus:
    """Progress of every trial, read again only where files have changed.

    Attempts from before this object was made are not counted: they may carry the times of another machine's clock.
    """

    def __init__(self, trials: Sequence[tuple[TrialSpec, TrialRun]]) -> None:
        self._trials = list(trials)
        self._earlier_attempts = {run: len(run.attempts()) for _, run in self._trials}
        self._cache: dict[TrialRun, tuple[int, TrialProgress]] = {}

    def poll(self) -> list[TrialProgress]:
        """Progress in the order of the trials."""
        return [self._progress(spec, run) for spec, run in self._trials]

    def _progress(self, spec: TrialSpec, run: TrialRun) -> TrialProgress:
        known = self._cache.get(run)
        if known is not None and known[1].status is TrialStatus.FINISHED:
            return known[1]
        fingerprint = run.fingerprint()
        if known is None or known[0] != fingerprint:
            known = (fingerprint, read_progress(spec, run, self._earlier_attempts[run]))
            self._cache[run] = known
        return known[1]


def read_progress(spec: TrialSpec, run: TrialRun, earlier_attempts: int) -> TrialProgress:
    """Read a trial's progress, without its first `earlier_attempts` attempts.

    A trial that an earlier driver left unfinished is waiting again.
    """
    status = run.status(spec.key)
    recent = run.attempts()[earlier_attempts:]
    diverged = run.diverged(spec.key) is not None
    if status is not TrialStatus.FINISHED and not recent and not diverged:
        return TrialProgress(spec.name, TrialStatus.WAITING, spec.config.steps)
    lines = run.readable_metrics()
    latest: dict[str, float] = {}
    evaluated = None
    for line in lines:
        latest |= line.values
        if "eval/em" in line.values:
            evaluated = line.step
    return TrialProgress(
        name=spec.name,
        status=status,
        steps=spec.config.steps,
        attempt=len(recent),
        step=lines[-1].step if lines else None,
        em=latest.get("eval/em"),
        evaluated=evaluated,
        reward=latest.get("train/reward_mean"),
        parse_ok=latest.get("train/parse_ok_rate"),
        seconds_per_step=_seconds_per_step([line.values for line in lines]),
        error=run.error_line() or "no message" if status is TrialStatus.FAILED else "",
        diverged=diverged,
    )


def trials_by_outcome(
    chosen: Sequence[tuple[TrialSpec, TrialRun]],
) -> tuple[list[TrialRun], list[TrialRun], list[tuple[TrialSpec, TrialRun]]]:
    """Trials that have finished, those that diverged (and would again), and those to run."""
    finished = [run for trial, run in chosen if run.status(trial.key) is TrialStatus.FINISHED]
    diverged = [run for trial, run in chosen if run.diverged(trial.key) is not None]
    return finished, diverged, [(trial, run) for trial, run in chosen if run not in finished and run not in diverged]


def opening_line(todo: int, finished: int, diverged: int, folder: Path) -> str:
    """`3 trials to run, 2 already finished, in runs/NAME`."""
    again = f"; {diverged} diverged and would again: to run one all the same, remove its folder" if diverged else ""
    return f"{todo} trials to run, {finished} already finished, in {folder}{again}"


def _seconds_per_step(lines: Sequence[Mapping[str, float]]) -> float | None:
    """Mean seconds of a training step with its share of evaluations, as the trial measured them: a journal's time
    stamps may have days of pause between them."""
    trained = [values for values in lines[1:] if "time/step_s" in values]
    spent = sum(values["time/step_s"] + values.get("time/eval_s", 0.0) for values in trained)
    return spent / len(trained) if trained else None


def time_left(progress: Sequence[TrialProgress], parallel: int) -> float | None:
    """Estimated seconds until all trials have ended, `parallel` at a time; None when no step was timed yet."""
    known = [p.seconds_per_step for p in progress if p.seconds_per_step is not None]
    if not known:
        return None
    mean = sum(known) / len(known)
    todo = [(p.seconds_per_step or mean) * (p.steps - (p.step or 0)) for p in progress if not p.ended]
    return max([sum(todo) / max(1, parallel), *todo], default=0.0)


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 05 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
