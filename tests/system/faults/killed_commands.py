"""kill -9 of commands that write files, before any of their touches of the file system; then the same command again.

A child process runs the command and kills itself before the nth open for writing, rename, removal or new folder in its
place. After each kill the place holds nothing that looks whole and is not (`sound`), and the same command then leaves
what an undisturbed run leaves. All runs are forks of this process: what they import is imported once.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir", "shutil.copyfile"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Command:
    """`run` writes into a folder; `sound` raises AssertionError for a half-made thing in it that looks whole."""

    name: str
    run: Callable[[Path], object]
    sound: Callable[[Path], None]
    ignored: tuple[str, ...] = ()
    """Ends of names that are no part of the result, such as locks."""


def check_kills(command: Command, home: Path, kills: int, seed: int) -> int:
    """Kill the command `kills` times, each in a folder of its own, and run it again. Returns the kills that struck."""
    whole = home / "whole"
    whole.mkdir(parents=True)
    touches = _touches(command, whole)
    expected = contents(whole, command.ignored)
    assert expected, f"{command.name} wrote nothing"
    points = _spread(touches, kills, random.Random(seed))
    for n in points:
        place = home / f"kill-{n}"
        place.mkdir()
        assert _forked(command, place, n) == -signal.SIGKILL, f"{command.name}: touch {n} of {touches} did not come"
        command.sound(place)
        assert _forked(command, place, 0) == 0, f"{command.name}: does not run after a kill before touch {n}"
        command.sound(place)
        found = contents(place, command.ignored)
        assert found == expected, f"{command.name}: touch {n}: {sorted(set(found.items()) ^ set(expected.items()))}"
        shutil.rmtree(place)
    return len(points)


def contents(place: Path, ignored: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of every file, by its path."""
    files = sorted(p for p in place.rglob("*") if p.is_file() and not p.name.endswith(tuple(ignored) or ("\0",)))
    return {str(p.relative_to(place)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _spread(touches: int, kills: int, rng: random.Random) -> list[int]:
    """The first and the last touch, and others at random."""
    between = rng.sample(range(2, touches), min(max(0, kills - 2), max(0, touches - 2)))
    return sorted({1, touches, *between})[: max(kills, 1)] if kills < 2 else sorted({1, touches, *between})


def _touches(command: Command, place: Path) -> int:
    """Run the command undisturbed and count its touches."""
    reader, writer = os.pipe()
    assert _forked(command, place, 0, report=writer) == 0, f"{command.name} failed undisturbed"
    os.close(writer)
    with os.fdopen(reader) as counted:
        return int(counted.read())


def _forked(command: Command, place: Path, strike: int, report: int | None = None) -> int:
    """Exit status of the command in a child, minus the signal that ended it. `strike` 0: undisturbed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            counter = _watch(place, strike)
            command.run(place)
            if report is not None:
                os.write(report, str(next(counter)).encode())
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    return -os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else os.WEXITSTATUS(ended)


def _watch(place: Path, strike: int) -> Iterator[int]:
    """Counts touches within `place` from now on, killing this process before touch `strike`; yields the count."""
    seen, root = [0], str(place)

    def count(event: str, args: tuple[Any, ...]) -> None:
        if event not in _EVENTS or not any(isinstance(a, str | Path) and str(a).startswith(root) for a in args):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & _WRITING):
            return
        seen[0] += 1
        if seen[0] == strike:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)

    def counted() -> Iterator[int]:
        while True:
            yield seen[0]

    return counted()
