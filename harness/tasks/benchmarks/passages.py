"""Passages on disk (SQLite), read by number or title; none is held in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import overload

from harness.tasks.benchmarks.errors import DataError
from harness.types import Passage


def write_passages(path: Path, passages: Iterable[Passage]) -> int:
    """Write the passages in order, one at a time, to a new file; how many there were.

    Raises DataError for two passages of one id.
    """
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")  # of no use before it is whole
        db.execute("CREATE TABLE passages (number INTEGER PRIMARY KEY, id BLOB, title BLOB, text BLOB)")
        rows = ((i, _bytes(p.id), _bytes(p.title), _bytes(p.text)) for i, p in enumerate(passages))
        n = db.executemany("INSERT INTO passages VALUES (?, ?, ?, ?)", rows).rowcount
        try:
            db.execute("CREATE UNIQUE INDEX ids ON passages (id)")
        except sqlite3.IntegrityError:
            twice = "SELECT id FROM passages GROUP BY id HAVING count(*) > 1 ORDER BY min(number)"
            (repeated,) = db.execute(twice).fetchone()
            raise DataError(f"passage ids repeat in the corpus, such as {_text(repeated)!r}") from None
        db.execute("CREATE INDEX titles ON passages (title)")
        db.commit()
    return max(n, 0)


class PassageStore(Sequence[Passage]):
    """The passages of a file that `write_passages` has written; several processes may read it."""

    def __init__(self, path: Path) -> None:
        # immutable: a finished file never changes, so readers need no locks, which network disks often lack
        address = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._db = sqlite3.connect(address, uri=True, check_same_thread=False)
        (last,) = self._db.execute("SELECT max(number) FROM passages").fetchone()
        self._length = 0 if last is None else last + 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, at: int) -> Passage: ...
    @overload
    def __getitem__(self, at: slice) -> list[Passage]: ...
    def __getitem__(self, at: int | slice) -> Passage | list[Passage]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        number = range(len(self))[at]  # counts from the end, and raises, as a tuple does
        row = self._db.execute("SELECT id, title, text FROM passages WHERE number = ?", (number,)).fetchone()
        return _passage(row)

    def __iter__(self) -> Iterator[Passage]:
        rows = self._db.execute("SELECT id, title, text FROM passages ORDER BY number")
        return (_passage(row) for row in rows)

    def ids_of(self, titles: Collection[str]) -> dict[str, tuple[str, ...]]:
        """Ids of the passages of each title, in the corpus' order; titles that no passage has are absent."""
        found: dict[str, tuple[str, ...]] = {}
        for title in titles:
            query = "SELECT id FROM passages WHERE title = ? ORDER BY number"
            ids = tuple(_text(row[0]) for row in self._db.execute(query, (_bytes(title),)))
            if ids:
                found[title] = ids
        return found


def _passage(row: tuple[bytes, bytes, bytes]) -> Passage:
    return Passage(*map(_text, row))


def _bytes(text: str) -> bytes:
    """Bytes: SQLite's text ends at U+0000."""
    return text.encode()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")  # files of earlier versions may hold halves of surrogate pairs
