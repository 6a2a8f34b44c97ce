"""kill -9 of whole commands at random moments, wherever they are; then the same command again.

For commands whose work is not in their touches of files (training, drawing, SQL): each runs in a process of its own,
forked from a server that has imported what they need, and is killed after a random share of the time it takes. After
each kill nothing in its place looks whole and is not (`sound`), and the same command then leaves what an undisturbed
run leaves (`view`).
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PATIENCE_S, PATIENCE = 300.0, 10.0
"""Time for a command to end: at least so many seconds, and so often what it took undisturbed (a machine gets busy)."""
PRELOADED = ["tests.system.faults.timed_commands"]


@dataclass(frozen=True)
class TimedCommand:
    """Functions of a folder that was a copy of `inputs`. `sound` gets the undisturbed run's folder as well, and raises
    AssertionError."""

    run: Callable[[Path], object]
    view: Callable[[Path], Any]
    sound: Callable[[Path, Path], None]
    inputs: Callable[[Path], None] = Path.mkdir


def check_timed_kills(command: TimedCommand, home: Path, kills: int, seed: int) -> int:
    """Kill the command `kills` times, each in a folder of its own, and run it again. Returns the kills that struck."""
    inputs, whole, rng, struck = home / "inputs", home / "whole", random.Random(seed), 0
    command.inputs(inputs)
    shutil.copytree(inputs, whole)
    ended, took = _killed_after(command, whole, None)
    assert ended == 0, f"failed undisturbed: {_log(whole).read_text()[-2000:]}"
    expected = command.view(whole)
    assert expected
    for n in range(kills):
        place = home / f"killed{n}"  # a path of its own: clients keep connections to a database by its path
        delay = took * (n + rng.random()) / kills  # one kill in each part of the run
        while True:
            shutil.copytree(inputs, place)
            ended, _ = _killed_after(command, place, delay)
            if ended == -signal.SIGKILL:
                break
            assert ended == 0
            shutil.rmtree(place)  # it was faster this time
            delay *= 0.7
        struck += 1
        command.sound(place, whole)
        ended, _ = _killed_after(command, place, None, max(PATIENCE_S, PATIENCE * took))
        assert ended == 0, f"fails after a kill at {delay:.2f} of {took:.2f} s: {_log(place).read_text()[-2000:]}"
        command.sound(place, whole)
        assert command.view(place) == expected, f"differs after a kill at {delay:.2f} of {took:.2f} s"
        shutil.rmtree(place)
    return struck


def _killed_after(
    command: TimedCommand, place: Path, delay_s: float | None, patience_s: float = PATIENCE_S
) -> tuple[int | None, float]:
    """Exit status of the command, killed `delay_s` seconds after its start, minus the signal that ended it; seconds
    that it ran."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    begins, ours = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(command.run, place, ours))
    process.start()
    ours.close()
    assert begins.poll(PATIENCE_S), "the command does not start"
    begins.recv()
    started = time.monotonic()
    process.join(patience_s if delay_s is None else delay_s)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode, time.monotonic() - started


def _log(place: Path) -> Path:
    return place.with_name(f"{place.name}.log")


def _run(run: Callable[[Path], object], place: Path, begins: Connection) -> None:
    log = os.open(_log(place), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    begins.send(True)
    status = run(place)
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else 0)  # libraries' threads are no part of the command
