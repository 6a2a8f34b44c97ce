"""Response cache of the operator LLM: one SQLite file, safe for many processes, checksums verified on read."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


def request_key(parts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of a JSON-like mapping, whatever the order of its keys."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseCache:
    """Key → JSON value. A write is one transaction: whole or absent. A value that fails its checksum counts as absent;
    a file that is no database is moved aside (`.damaged`); without write access nothing is cached."""

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
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                db = sqlite3.connect(self._path, timeout=10, check_same_thread=False, isolation_level=None)
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, value TEXT, checksum TEXT)")
                return db
            except sqlite3.OperationalError as error:
                log.warning("response cache disabled: %s", error)
                return None
            except sqlite3.DatabaseError:
                log.warning("response cache %s is damaged: moved aside", self._path.name)
                self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            except OSError as error:
                log.warning("response cache disabled: %s", error.strerror)
                return None
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


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
