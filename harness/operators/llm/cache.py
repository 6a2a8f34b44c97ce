"""Response cache of the operator LLM: one SQLite file, safe for many processes, checksums verified on read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

log = logging.getLogger(__name__)
_MARK = 0x57524C43
"""`application_id` of a cache's file."""
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_PATIENCE = 30.0
"""Seconds to wait for other processes that open or write the cache."""


def request_key(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a JSON-like mapping, whatever the order of its keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def is_foreign(path: Path) -> bool:
    """Whether something lies at `path` that no response cache left there: a cache never touches it.

    A damaged cache is still known by the mark in its first 100 bytes.
    """
    if not os.path.lexists(path):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(100) if path.is_file() else b""
    except OSError:
        return True
    if path.is_file() and (not head or head[68:72] == _MARK.to_bytes(4)):
        return False
    if not head.startswith(b"SQLite format 3\0"):
        return True
    try:  # a cache of earlier versions has no mark, one that another process is making none yet
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as db:
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            return not {name for (name,) in tables} <= {"responses"}
    except sqlite3.OperationalError:  # locked: so it is for the cache
        return False
    except sqlite3.DatabaseError:
        return True


class ResponseCache:
    """Key → JSON value. A write is one transaction: whole or absent. A value that fails its checksum counts as absent;
    a damaged cache is moved aside (`.damaged`); without write access, or where another file lies, nothing is cached."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._db = self._open()

    def get(self, key: str) -> dict[str, Any] | None:
        row = self._execute("SELECT value, checksum FROM responses WHERE key = ?", (key,))
        if not row or _checksum(row[0][0]) != row[0][1]:
            return None
        value: dict[str, Any] = json.loads(row[0][0])
        return value

    def put(self, key: str, value: Mapping[str, Any]) -> None:
        text = json.dumps(value)
        self._execute("INSERT OR REPLACE INTO responses VALUES (?, ?, ?)", (key, text, _checksum(text)))

    def close(self) -> None:
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None

    def _open(self) -> sqlite3.Connection | None:
        if is_foreign(self._path):
            log.warning("response cache disabled: %s is no response cache", self._path)
            return None
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                return _connected(self._path)
            except sqlite3.OperationalError as error:
                # Several processes that make one cache at once lock each other out: for the switch to a write-ahead log
                # SQLite does not wait, whatever the timeout.
                if error.sqlite_errorcode & 0xFF not in _PASSING or time.monotonic() > deadline:
                    log.warning("response cache disabled: %s", error)
                    return None
                time.sleep(0.02)
            except sqlite3.DatabaseError as error:
                if time.monotonic() > deadline:
                    log.warning("response cache disabled: %s", error)
                    return None
                log.warning("response cache %s is damaged: moved aside", self._path.name)
                with contextlib.suppress(FileNotFoundError):  # another process has done it
                    self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            except OSError as error:
                log.warning("response cache disabled: %s", error.strerror)
                return None

    def _execute(self, statement: str, values: tuple[str, ...]) -> list[tuple[str, str]]:
        with self._lock:
            if self._db is None:
                return []
            try:
                return self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                log.warning("response cache: %s", error)
                return []


def _connected(path: Path) -> sqlite3.Connection:
    """A connection to the cache at `path`, made if need be. Raises sqlite3.Error, the connection closed."""
    db = sqlite3.connect(path, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)
    try:
        db.execute(f"PRAGMA application_id={_MARK}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")  # no wait for the disk at each response: a power cut may lose the last
        db.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, value TEXT, checksum TEXT)")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
