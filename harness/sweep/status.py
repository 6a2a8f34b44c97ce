"""What a sweep's journals say right now: the figures that the screen shows. Reads files, nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.config import TrialSpec
from harness.runs.journal import METRICS, decode
from harness.runs.jsonl import read_lines
from harness.runs.layout import State, attempts, first_error, stamp, state_of


@dataclass(frozen=True, slots=True)
class Figures:
    """A trial at a moment. Numbers are None until they are known; `evaluated` is the step that `em` is of."""

    name: str
    state: State
    steps: int
    attempt: int = 0
    step: int | None = None
    em: float | None = None
    evaluated: int | None = None
    reward: float | None = None
    parse_ok: float | None = None
    seconds_per_step: float | None = None
    error: str = ""

    @property
    def seconds_left(self) -> float | None:
        if self.seconds_per_step is None or self.step is None:
            return None
        return self.seconds_per_step * (self.steps - self.step)

    @property
    def ended(self) -> bool:
        return self.state in (State.FINISHED, State.FAILED)


class Watch:
    """Figures of every trial, read again only where files have changed.

    What was tried before the watch began is counted and left out: a time would be that of another machine's clock.
    """

    def __init__(self, trials: Sequence[tuple[TrialSpec, Path]]) -> None:
        self._trials = list(trials)
        self._before = {folder: len(attempts(folder)) for _, folder in self._trials}
        self._seen: dict[Path, tuple[int, Figures]] = {}

    def look(self) -> list[Figures]:
        """In the order of the trials."""
        return [self._figures(spec, folder) for spec, folder in self._trials]

    def _figures(self, spec: TrialSpec, folder: Path) -> Figures:
        known = self._seen.get(folder)
        if known is not None and known[1].state is State.FINISHED:
            return known[1]
        mark = stamp(folder)
        if known is None or known[0] != mark:
            known = (mark, read_figures(spec, folder, self._before[folder]))
            self._seen[folder] = known
        return known[1]


def read_figures(spec: TrialSpec, folder: Path, before: int) -> Figures:
    """Read a trial's figures from its folder, without its first `before` attempts.

    What an earlier driver left unfinished is waiting again.
    """
    state = state_of(folder, spec.key)
    recent = attempts(folder)[before:]
    if state is not State.FINISHED and not recent:
        return Figures(spec.name, State.NEW, spec.config.steps)
    records = read_lines(folder / METRICS).records
    latest: dict[str, float] = {}
    evaluated = None
    told = [decode(record["values"]) for record in records]
    for record, values in zip(records, told, strict=True):
        latest |= values
        if "eval/em" in values:
            evaluated = record["step"]
    step = records[-1]["step"] if records else None
    return Figures(
        name=spec.name,
        state=state,
        steps=spec.config.steps,
        attempt=len(recent),
        step=step,
        em=latest.get("eval/em"),
        evaluated=evaluated,
        reward=latest.get("train/reward_mean"),
        parse_ok=latest.get("train/parse_ok_rate"),
        seconds_per_step=_pace(told),
        error=first_error(folder) if state is State.FAILED else "",
    )


def _pace(steps: Sequence[Mapping[str, float]]) -> float | None:
    """Seconds a training step with its share of evaluations, as the trial itself took them: between the lines of a
    journal there may be a pause of days."""
    trained = [values for values in steps[1:] if "time/step_s" in values]
    spent = sum(values["time/step_s"] + values.get("time/eval_s", 0.0) for values in trained)
    return spent / len(trained) if trained else None


def time_left(figures: Sequence[Figures], parallel: int) -> float | None:
    """Seconds until all trials have ended, from the pace so far and `parallel` trials at a time; None: not known."""
    paces = [f.seconds_per_step for f in figures if f.seconds_per_step is not None]
    if not paces:
        return None
    usual = sum(paces) / len(paces)
    todo = [(f.seconds_per_step or usual) * (f.steps - (f.step or 0)) for f in figures if not f.ended]
    return max([sum(todo) / max(1, parallel), *todo], default=0.0)


def duration(seconds: float | None) -> str:
    """`45 s`, `12 min`, `3 h 05 min`; empty when not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
