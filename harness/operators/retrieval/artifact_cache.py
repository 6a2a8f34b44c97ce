"""Folders that are made once, however many processes want them at a time, and made again when they are damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"


def stored(directory: Path, key: str, build: Callable[[Path], None]) -> Path:
    """The folder `directory/key`, filled by `build` unless it is there and whole.

    It is filled under another name and moved into place, under a lock (a file beside `directory`): processes that need
    it meanwhile wait. Raises OSError, and what `build` raises.
    """
    home = directory / key
    if _intact(home):
        return home
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f"{directory.name}-{key}.lock")):
        if home.exists():
            if _intact(home):  # another process made it while this one waited
                return home
            log.warning("search index %s is damaged: building it again", home.name)
            shutil.rmtree(home, ignore_errors=True)
        for left in directory.glob(f".building-{key}-*"):  # by a process that was killed, or it would hold the lock
            shutil.rmtree(left, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(dir=directory, prefix=f".building-{key}-"))
        try:
            build(staging)
            note = {path.name: _state(path) | {"sha256": _checksum(path)} for path in sorted(staging.iterdir())}
            (staging / _MANIFEST).write_text(json.dumps(note, indent=1), encoding="utf-8")
            os.replace(staging, home)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    return home


def _intact(home: Path) -> bool:
    """Whether every file is as it was noted. The checksum of one is taken only where size or time say that it was
    written to (or copied): of an index over millions of passages it would take minutes."""
    try:
        note = json.loads((home / _MANIFEST).read_text(encoding="utf-8"))
        return bool(note) and all(_as_noted(home / name, state) for name, state in note.items())
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False


def _as_noted(path: Path, noted: dict[str, int | str]) -> bool:
    now = _state(path)
    if now["size"] != noted["size"]:
        return False
    return now["mtime_ns"] == noted["mtime_ns"] or _checksum(path) == noted["sha256"]


def _state(path: Path) -> dict[str, int | str]:
    state = path.stat()
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
