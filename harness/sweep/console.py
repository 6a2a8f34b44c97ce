"""A sweep's progress for people: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from harness.redact import printable, redact
from harness.runs.layout import State
from harness.sweep.status import Figures, duration, time_left

_STYLE = {State.NEW: "dim", State.BEGUN: "cyan", State.FINISHED: "green", State.FAILED: "bold red"}


class Screen(Protocol):
    """Shows figures again and again, and lines that stay."""

    def show(self, figures: Sequence[Figures]) -> None: ...

    def say(self, line: str) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def screen_for(console: Console, name: str, parallel: int) -> Screen:
    """The screen that suits the console."""
    return LiveTable(console, name, parallel) if console.is_terminal else PlainLines(console, name, parallel)


class _Announcer:
    """Says once when a trial has failed, with its error; on every screen."""

    def __init__(self) -> None:
        self._attempts: dict[str, int] = {}

    def news(self, figures: Sequence[Figures]) -> list[str]:
        lines = []
        for f in figures:
            if f.state is State.FAILED and self._attempts.get(f.name, 0) < f.attempt:
                self._attempts[f.name] = f.attempt
                lines.append(f"{f.name}: attempt {f.attempt} failed: {f.error}")
        return lines


class PlainLines:
    """One line when a trial starts, is evaluated, fails or ends."""

    def __init__(self, console: Console, name: str, parallel: int) -> None:
        self._console, self._name, self._parallel = console, name, parallel
        self._announcer = _Announcer()
        self._last: dict[str, Figures] = {}

    def show(self, figures: Sequence[Figures]) -> None:
        for line in self._announcer.news(figures):
            self.say(line)
        for f in figures:
            before = self._last.get(f.name)
            self._last[f.name] = f
            if before is None or before == f:
                continue
            if f.attempt > before.attempt and f.state is State.BEGUN:
                self.say(f"{f.name}: started" + (f" again (attempt {f.attempt})" if f.attempt > 1 else ""))
            if f.evaluated is not None and f.evaluated != before.evaluated:
                self.say(f"{f.name}: {_step(f)}, EM {_share(f.em)}{_tail(f)}")
            if f.state is State.FINISHED and before.state is not State.FINISHED:
                self.say(f"{f.name}: finished, EM {_share(f.em)}. {headline(figures, self._parallel)}")

    def say(self, line: str) -> None:
        say(self._console, line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return None


class LiveTable:
    """A table that is drawn in place; waiting trials are counted, not listed, when there are many."""

    def __init__(self, console: Console, name: str, parallel: int) -> None:
        self._console, self._name, self._parallel = console, name, parallel
        self._announcer = _Announcer()
        self._live = Live(console=console, refresh_per_second=4, transient=False)

    def show(self, figures: Sequence[Figures]) -> None:
        for line in self._announcer.news(figures):
            self.say(line)
        self._live.update(self._draw(figures))

    def say(self, line: str) -> None:
        say(self._live.console, line)

    def _draw(self, figures: Sequence[Figures]) -> Group:
        table = Table(box=None, pad_edge=False)
        for column in _WORDS:
            table.add_column(column, no_wrap=True)
        for column in _NUMBERS:
            table.add_column(column, justify="right", no_wrap=True)
        room = max(4, self._console.height - 6)
        listed = list(figures)
        if len(listed) > room:  # the ends of a long list matter less than what is running or has failed
            listed = sorted(listed, key=lambda f: (f.state is not State.BEGUN, f.state is not State.FAILED))[:room]
        for f in listed:
            table.add_row(
                f.name,
                Text(f.state.value + (f" ({f.attempt})" if f.attempt > 1 else ""), style=_STYLE[f.state]),
                _step(f) if f.step is not None else "",
                _share(f.em),
                "" if f.reward is None else f"{f.reward:+.3f}",
                _share(f.parse_ok),
                duration(f.seconds_left) if f.state is State.BEGUN else "",
            )
        hidden = len(figures) - len(listed)
        head = Text(f"{self._name}: {headline(figures, self._parallel)}", style="bold")
        return Group(head, table, *([Text(f"and {hidden} more", style="dim")] if hidden else []))

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


_WORDS, _NUMBERS = ("trial", "state"), ("step", "EM", "reward", "parse ok", "left")


def say(console: Console, line: str) -> None:
    """Print a line without markup, secrets or control characters."""
    console.print(printable(redact(line)), markup=False, highlight=False, soft_wrap=True)


def headline(figures: Sequence[Figures], parallel: int) -> str:
    """`3 of 15 finished, 2 running, 1 failed, about 12 min left`."""
    count = {state: sum(f.state is state for f in figures) for state in State}
    parts = [f"{count[State.FINISHED]} of {len(figures)} finished"]
    parts += [f"{count[s]} {s.value}" for s in (State.BEGUN, State.FAILED) if count[s]]
    left = time_left(figures, parallel)
    if left:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _step(f: Figures) -> str:
    return f"step {f.step}/{f.steps}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _tail(f: Figures) -> str:
    reward = "" if f.reward is None else f", reward {f.reward:+.3f}"
    return reward + ("" if f.parse_ok is None else f", parse ok {f.parse_ok:.3f}")
