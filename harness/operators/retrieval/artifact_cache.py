"""Cache of built folders: built once under a lock across processes, verified on use, rebuilt when damaged."""

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
    """The folder `directory/key`, built by `build` unless it exists intact.

    Built under another name and moved into place, under a lock (a file beside `directory`) that other processes wait
    for. Raises OSError, and what `build` raises.
    """
    home = directory / key
    if _intact(home):
        return home
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory.with_name(f"{directory.name}-{key}.lock")):
        if home.exists():
            if _intact(home):  # built by another process meanwhile
                return home
            log.warning("cached %s/%s is damaged: rebuilding it", directory.name, home.name)
            shutil.rmtree(home, ignore_errors=True)
        for left in directory.glob(f".building-{key}-*"):  # of a killed process: a live one would hold the lock
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
    """Whether every file matches the manifest. A checksum is computed only where size or time differ (a write or a
    copy): for an index over millions of passages it would take minutes."""
    try:
        note = json.loads((home / _MANIFEST).read_text(encoding="utf-8"))
        return bool(note) and all(_matches(home / name, state) for name, state in note.items())
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False


def _matches(path: Path, entry: dict[str, int | str]) -> bool:
    now = _state(path)
    if now["size"] != entry["size"]:
        return False
    return now["mtime_ns"] == entry["mtime_ns"] or _checksum(path) == entry["sha256"]


def _state(path: Path) -> dict[str, int | str]:
    state = path.stat()
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
