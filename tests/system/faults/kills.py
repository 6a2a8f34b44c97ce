"""kill -9 at random moments, each followed by the same command, on sweeps compared with an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.runs.layout import CHECKPOINTS, EPISODES, POLICIES
from tests.system.faults.cheap_steps import STRIKE
from tests.system.faults.sweeps import Sweep, check_along, check_end, redone

TOUCHES = {"checkpoint": (CHECKPOINTS, 14), "episodes": (EPISODES, 60), "policy": (POLICIES, 14)}
"""Kinds that strike amid the files of a folder, and before how many touches of them at most (each is a few writes)."""
KINDS = ("worker", *TOUCHES, "driver", "writer")
"""A trial's process, at any moment or as it touches files of one sort; the driver, at any moment or before one of its
MLflow writer's SQL statements."""


def plan(n: int, seed: int) -> list[str]:
    """`n` kills, every kind as often as the others, in a random order."""
    kinds = [KINDS[i % len(KINDS)] for i in range(n)]
    random.Random(seed).shuffle(kinds)
    return kinds


def kill_and_go_on(home: Path, whole: Sweep, kinds: Sequence[str], seed: int, a_sweep: int = 5) -> Counter[str]:
    """Kill as told, `a_sweep` times a sweep, and look after every kill and every end. Raises AssertionError."""
    rng, counts = random.Random(seed), Counter[str]()
    left, number = list(kinds), 0
    while left:
        number += 1
        assert number <= 3 * len(kinds), f"{left} found nothing to kill"
        sweep = Sweep(home / f"s{number}", whole.settings, code=whole.code)
        missed = []
        for kind in left[:a_sweep]:
            struck = _strike(sweep, kind, rng)
            counts["lines"] += check_along(sweep, whole)
            counts["redone"] = max(counts["redone"], redone(sweep))
            if struck:
                counts[kind] += 1
            else:  # it had ended before: again in another sweep
                missed.append(kind)
        (sweep.home / STRIKE).unlink(missing_ok=True)
        sweep.finish()
        check_end(sweep, whole)
        counts["redone"] = max(counts["redone"], redone(sweep))
        counts["sweeps"] += 1
        left = left[a_sweep:] + missed
    return counts


def _strike(sweep: Sweep, kind: str, rng: random.Random) -> bool:
    """Run the command until something of the kind has been killed; False if it came to its end before."""
    if kind in TOUCHES:
        folder, most = TOUCHES[kind]
        sweep.home.mkdir(parents=True, exist_ok=True)
        (sweep.home / STRIKE).write_text(json.dumps([folder, rng.randint(1, most)]))
    before = sum(sweep.recorded().values())
    process = sweep.start(writer=rng.randint(40, 900) if kind == "writer" else 0)
    if kind == "writer":
        return process.wait(600) == -signal.SIGKILL
    struck = False
    if kind in TOUCHES:
        struck = _until(process, lambda: not (sweep.home / STRIKE).exists())
    else:
        target = before + rng.randint(1, 40)
        if _until(process, lambda: sum(sweep.recorded().values()) >= target):
            time.sleep(rng.random() * 0.05)
            pids = sweep.workers() if kind == "worker" else [process.pid]
            with contextlib.suppress(ProcessLookupError):
                if pids and process.poll() is None:
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    struck = True
    if kind == "driver" or not struck:
        process.wait(600)
    else:  # the driver starts the trial again by itself; it is stopped there, and the command given again
        _until(process, lambda: sum(sweep.recorded().values()) >= before + 5, patience_s=5)
        process.kill()
        process.wait(60)
    return struck


def _until(process: subprocess.Popen[bytes], holds: Callable[[], bool], patience_s: float = 300) -> bool:
    end = time.monotonic() + patience_s
    while process.poll() is None and time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return False
