"""Output built beside its place and then renamed: a kill leaves the old state or the new one, and no part that looks
whole. What a killed process left is removed by the next one."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target`, whole, when the block ends; on an error nothing changes.

    A kill between the two renames leaves no `target`: it is made again by the same command. Raises OSError.
    """
    with _scratch(target.parent, target.name) as staging:
        yield staging
        old = staging.with_name(f"{staging.name}-old")
        if target.exists():
            target.rename(old)
        staging.rename(target)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def staged_files(out: Path, first_removed: str) -> Iterator[Path]:
    """An empty folder whose files move into `out` when the block ends; on an error nothing changes.

    Other files in `out` stay. The file `first_removed` is removed before any moves and comes back last: while it is
    there, so are all others, whole. Raises OSError.
    """
    with _scratch(out, "files") as staging:
        yield staging
        files = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
        marker = Path(first_removed)
        if marker in files:
            (out / marker).unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == marker):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / name, out / name)


@contextlib.contextmanager
def _scratch(parent: Path, name: str) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f".{name}.building-*"):
        if not _alive(left.name.removeprefix(f".{name}.building-").removesuffix("-old")):
            shutil.rmtree(left, ignore_errors=True)
    staging = parent / f".{name}.building-{os.getpid()}"
    staging.mkdir()
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()
