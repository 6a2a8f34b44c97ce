"""A disk that is full: a trial's journal, its checkpoint and MLflow's store on a tmpfs of a few MB (needs to mount)."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from harness.config import code_version
from harness.driver.worker import TrialFailed, run_one
from harness.journal import METRICS, content, read_metrics
from harness.lines import read_lines
from harness.tracking.store import connect
from tests.faults.damage import trial

TRIAL = "tests.faults.cheap_steps:random_walk"
FILL = "fill"


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of its own. Raises PermissionError where mounting is not allowed."""
    place.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True)
    if done.returncode:
        raise PermissionError(done.stderr.decode().strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, spare: int) -> Path:
    """Take all of the disk but `spare` bytes (whole pages)."""
    status = os.statvfs(disk)
    (disk / FILL).write_bytes(b"x" * max(0, status.f_bavail * status.f_frsize - spare))
    return disk / FILL


def check_full_disk(home: Path) -> int:
    """A trial meets the full disk at ever later places, is run again with space, and ends as if nothing had been."""
    whole = trial(home / "whole", code_version())
    run_one(whole, TRIAL)
    met = 0
    with small_disk(home / "disk", "4m") as disk:
        for spare in range(8192, 90000, 12288):  # its journal, then its checkpoints, are what does not fit
            folder = trial(disk / f"s{spare}", code_version())
            taken = fill(disk, spare)
            before = -1
            try:
                run_one(folder, TRIAL)
            except (TrialFailed, OSError) as error:
                assert "No space left" in str(error), error  # noqa: PT017
                before, met = len(read_lines(folder / METRICS).records), met + 1
                assert all(d.torn for d in read_lines(folder / METRICS).damage)
                said = list(read_metrics(folder))
                taken.unlink()
                run_one(folder, TRIAL)
                assert list(read_metrics(folder))[:before] == said
            taken.unlink(missing_ok=True)
            assert content(folder) == content(whole)
    assert met, "the disk was never full"
    return met


def check_full_store(home: Path) -> int:
    """MLflow's database meets the full disk: an error that says so, and what was written stays."""
    with small_disk(home / "store", "4m") as disk:
        client = connect(f"sqlite:///{disk / 'mlflow.db'}")
        run = client.create_run("0").info.run_id
        client.log_metric(run, "a", 1.0, step=0)
        taken, written = fill(disk, 0), 1
        try:
            for step in range(1, 3000):
                client.log_metric(run, "a", 1.0, step=step)
                written += 1
            raise AssertionError("the disk was never full")
        except Exception as error:
            assert "full" in str(error) or "disk I/O" in str(error), error  # noqa: PT017
        taken.unlink()
        client.log_metric(run, "a", 1.0, step=5000)
        assert len(client.get_metric_history(run, "a")) == written + 1
    return 1
