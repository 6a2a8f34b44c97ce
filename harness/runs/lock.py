"""Exclusive locks on folders, held by one process and released when it dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

RETRY_S = 0.2


class BusyError(Exception):
    """Another process holds the folder's lock."""


@contextlib.contextmanager
def exclusive_lock(folder: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold `folder`/.lock while the block runs. Waits up to `wait_s` seconds, then raises BusyError.

    Raises OSError for a .lock that is a symbolic link: it could create a file elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise BusyError(f"another process is at work in {folder}") from None
                time.sleep(RETRY_S)
        yield
    finally:
        os.close(descriptor)
