"""A disk that is full, under a trial, under MLflow's store and under a whole sweep.

It is a tmpfs of a few MB; where nobody may mount one, files that may not grow (RLIMIT_FSIZE) stand in for it, whose
writes fail in the same places, torn in the same way.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from harness.config import code_version
from harness.runs.jsonl import read_lines
from harness.runs.layout import METRICS
from harness.runs.run import TrialRun
from harness.sweep.attempts import TrialFailed
from harness.sweep.run import FAILED
from harness.sweep.worker import run_one
from harness.tracking.client import connect
from tests.system.faults.damage import trial
from tests.system.faults.sweeps import Sweep, check_along, check_end
from tests.system.faults.views import check_files

TRIAL = "tests.system.faults.cheap_steps:random_walk"
FULL = ("No space left", "File too large", "disk is full")
"""What the error of one or the other disk says, and SQLite's."""
PAGE = 4096
LIMIT_BYTES = 27000
"""More than an episode file takes, less than a trial's events do."""


@dataclass(frozen=True)
class Disk:
    """`fill` leaves so many bytes, of the disk or for each file; `free` takes that back. `spares` are such that a
    trial's episodes, its lines and (on a disk) its checkpoint are each the first that does not fit."""

    place: Path
    fill: Callable[[int], None]
    free: Callable[[], None]
    spares: range


MakeDisk = Callable[[Path, str], AbstractContextManager[Disk]]


@contextlib.contextmanager
def mounted(place: Path, size: str) -> Iterator[Disk]:
    """A disk of its own. Raises PermissionError where mounting is not allowed."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())

    def fill(spare: int) -> None:
        status = os.statvfs(place)
        with contextlib.suppress(OSError):  # what others wrote meanwhile: it is full then
            (place / "fill").write_bytes(b"x" * max(0, status.f_bavail * status.f_frsize - spare))  # whole pages

    try:
        yield Disk(place, fill, lambda: (place / "fill").unlink(missing_ok=True), range(34 * PAGE, 44 * PAGE, PAGE))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@contextlib.contextmanager
def limited(place: Path, size: str) -> Iterator[Disk]:
    """A folder; when it is full, no file of this process may grow beyond what is left."""
    place.mkdir(parents=True, exist_ok=True)
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(n: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, most))

    try:
        yield Disk(place, limit, lambda: limit(before), range(13000, 42000, 7000))
    finally:
        limit(before)


def a_disk() -> MakeDisk:
    """The real one where it can be had."""
    with contextlib.suppress(PermissionError), tempfile.TemporaryDirectory() as place, mounted(Path(place), "1m"):
        return mounted
    return limited


def check_full_disk(home: Path, disk: MakeDisk) -> int:
    """A trial meets the full disk at ever later places, is run again with space, and ends as if nothing had been."""
    whole = trial(home / "whole", code_version())
    run_one(TrialRun(whole), TRIAL)
    met = 0
    with disk(home / "disk", "4m") as small:
        for spare in small.spares:
            folder = trial(small.place / f"s{spare}", code_version())
            small.fill(spare)
            try:
                run_one(TrialRun(folder), TRIAL)
            except (TrialFailed, OSError) as error:
                small.free()
                assert any(words in str(error) for words in FULL), error  # noqa: PT017
                met += 1
                assert all(d.torn for d in read_lines(folder / METRICS).damage)
                said = TrialRun(folder).metrics()
                run_one(TrialRun(folder), TRIAL)
                assert TrialRun(folder).metrics()[: len(said)] == said
            small.free()
            assert TrialRun(folder).comparable_journal() == TrialRun(whole).comparable_journal()
            check_files(folder, whole)
            shutil.rmtree(folder.parent)
    assert met, "the disk was never full"
    return met


def check_full_store(home: Path, disk: MakeDisk) -> int:
    """MLflow's database meets the full disk: an error that says so, and what was written stays."""
    with disk(home / "store", "4m") as small:
        file = small.place / "mlflow.db"
        client = connect(f"sqlite:///{file}")
        run = client.create_run("0").info.run_id
        client.log_metric(run, "a", 1.0, step=0)
        small.fill(0 if disk is mounted else file.stat().st_size)
        written = 1
        try:
            for step in range(1, 3000):
                client.log_metric(run, "a", 1.0, step=step)
                written += 1
            raise AssertionError("the disk was never full")
        except Exception as error:
            small.free()
            assert "full" in str(error) or "disk I/O" in str(error), error  # noqa: PT017
        client.log_metric(run, "a", 1.0, step=5000)
        assert len(client.get_metric_history(run, "a")) == written + 1
    return 1


def check_full_sweep(home: Path, whole: Sweep, disk: MakeDisk) -> int:
    """A sweep's folder and MLflow's store fill up under the driver: it says so and ends, failed; nothing that was
    recorded is lost, and the same command goes on when there is space."""
    sweep = Sweep(home / "sweep", whole.settings, code=whole.code)
    with disk(sweep.home / "runs", "64m") as small:
        sweep.file_bytes = 0 if disk is mounted else LIMIT_BYTES
        process = sweep.start()
        if disk is mounted:
            end = time.monotonic() + 300
            while sum(sweep.recorded().values()) < 20:
                assert process.poll() is None, sweep.printed()[-2000:]
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.05)
            small.fill(65536)
        status = process.wait(600)
        printed = sweep.printed()
        assert status == FAILED, f"exit status {status}:\n{printed[-3000:]}"
        assert any(words in printed for words in FULL), printed[-3000:]
        assert "to run the rest: " in printed
        assert check_along(sweep, whole) > 0
        said = {name: TrialRun(path).metrics() for name, path in sweep.trials().items()}
        small.free()
        sweep.file_bytes = 0
        sweep.finish()
        for name, path in sweep.trials().items():
            assert TrialRun(path).metrics()[: len(said[name])] == said[name], f"{name}: a recorded line is lost"
        check_end(sweep, whole)
    return 1
