"""A sweep's progress for people: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.runs.records import TrialStatus
from harness.sweep.status import TrialProgress, duration, time_left
from harness.types.redact import printable, redact

_STYLE = {
    TrialStatus.WAITING: "dim",
    TrialStatus.RUNNING: "cyan",
    TrialStatus.FINISHED: "green",
    TrialStatus.FAILED: "bold red",
}


class ProgressDisplay(Protocol):
    """Shows progress, replacing what it showed before, and lines that stay."""

    def show(self, progress: Sequence[TrialProgress]) -> None: ...

    def print_line(self, line: str) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display_for(console: Console, name: str, parallel: int) -> ProgressDisplay:
    """A live table in a terminal, plain lines elsewhere."""
    return LiveTable(console, name, parallel) if console.is_terminal else PlainLines(console, name, parallel)


class _FailureLines:
    """One line for each failed attempt, with its error."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def new(self, progress: Sequence[TrialProgress]) -> list[str]:
        lines = []
        for p in progress:
            if p.status is TrialStatus.FAILED and self._attempts.get(p.name, 0) < p.attempt:
                self._attempts[p.name] = p.attempt
                lines.append(f"{p.name}: attempt {p.attempt} failed: {p.error}")
        return lines


class PlainLines:
    """One line when a trial starts, is evaluated, fails or finishes."""

    def __init__(self, console: Console, name: str, parallel: int) -> None:
        self._console, self._name, self._parallel = console, name, parallel
        self._failures = _FailureLines()
        self._last: dict[str, TrialProgress] = {}

    def show(self, progress: Sequence[TrialProgress]) -> None:
        for line in self._failures.new(progress):
            self.print_line(line)
        for p in progress:
            before = self._last.get(p.name)
            self._last[p.name] = p
            if before is None or before == p:
                continue
            if p.attempt > before.attempt and p.status is TrialStatus.RUNNING:
                self.print_line(f"{p.name}: " + (f"restarted (attempt {p.attempt})" if p.attempt > 1 else "started"))
            if p.evaluated is not None and p.evaluated != before.evaluated:
                self.print_line(f"{p.name}: {_step(p)}, EM {_share(p.em)}{_tail(p)}")
            if p.status is TrialStatus.FINISHED and before.status is not TrialStatus.FINISHED:
                self.print_line(f"{p.name}: finished, EM {_share(p.em)}. {summary_line(progress, self._parallel)}")

    def print_line(self, line: str) -> None:
        print_redacted(self._console, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return None


class LiveTable:
    """A table redrawn in place; waiting trials are counted, not listed, when there are many."""

    def __init__(self, console: Console, name: str, parallel: int) -> None:
        self._console, self._name, self._parallel = console, name, parallel
        self._failures = _FailureLines()
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def show(self, progress: Sequence[TrialProgress]) -> None:
        for line in self._failures.new(progress):
            self.print_line(line)
        self._live.update(self._draw(progress))

    def print_line(self, line: str) -> None:
        print_redacted(self._live.console, line)

    def _draw(self, progress: Sequence[TrialProgress]) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in _WORDS:
            table.add_column(column, no_wrap=True)
        for column in _NUMBERS:
            table.add_column(column, justify="right", no_wrap=True)
        room = max(4, self._console.height - 6)
        listed = list(progress)
        if len(listed) > room:  # running and failed trials matter more than waiting ones
            listed = sorted(
                listed, key=lambda p: (p.status is not TrialStatus.RUNNING, p.status is not TrialStatus.FAILED)
            )[:room]
        for p in listed:
            table.add_row(
                p.name,
                Text(p.status.value + (f" ({p.attempt})" if p.attempt > 1 else ""), style=_STYLE[p.status]),
                _step(p) if p.step is not None else "",
                _share(p.em),
                "" if p.reward is None else f"{p.reward:+.3f}",
                _share(p.parse_ok),
                duration(p.seconds_left) if p.status is TrialStatus.RUNNING else "",
            )
        hidden = len(progress) - len(listed)
        head = Text(f"{self._name}: {summary_line(progress, self._parallel)}", style="bold")
        return Group(head, table, *([Text(f"and {hidden} more", style="dim")] if hidden else []))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


_WORDS, _NUMBERS = ("trial", "status"), ("step", "EM", "reward", "parse ok", "left")


def print_redacted(console: Console, line: str) -> None:
    """Print a line without markup, secrets or control characters."""
    console.print(printable(redact(line)), markup=False, highlight=False, soft_wrap=True)


def summary_line(progress: Sequence[TrialProgress], parallel: int) -> str:
    """`3 of 15 trials finished, 2 running, 1 failed, about 12 min left`."""
    count = {status: sum(p.status is status for p in progress) for status in TrialStatus}
    parts = [f"{count[TrialStatus.FINISHED]} of {len(progress)} trials finished"]
    parts += [f"{count[s]} {s.value}" for s in (TrialStatus.RUNNING, TrialStatus.FAILED) if count[s]]
    left = time_left(progress, parallel)
    if left:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _step(p: TrialProgress) -> str:
    return f"step {p.step}/{p.steps}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _tail(p: TrialProgress) -> str:
    reward = "" if p.reward is None else f", reward {p.reward:+.3f}"
    return reward + ("" if p.parse_ok is None else f", parse ok {p.parse_ok:.3f}")
