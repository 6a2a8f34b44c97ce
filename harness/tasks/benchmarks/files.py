"""Rows of JSON Lines (plain or gzip'd) and Parquet files, one at a time, each with the place it stands at."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.tasks.benchmarks.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json.gz", ".json", ".parquet")
_BATCH = 1024


def is_data_file(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def iter_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line` or `file, row n`, row) for every row, without holding the file in memory.

    Raises DataError for a missing, truncated or undecodable file and for a row that is not an object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a .jsonl, .jsonl.gz or .parquet file")
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
    elif is_data_file(path):
        yield from _json_rows(path)
    else:
        raise DataError(f"{path}: unknown kind of file; known are {', '.join(SUFFIXES)}")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield number, line
    except EOFError:
        raise DataError(f"{path}:{number + 1}: the gzip'd file stops in the middle; fetch it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        where = f"{path}:{number + 1}" if number else f"{path}"
        raise DataError(
            f"{where}: not readable as gzip ({error}); fetch it again, or drop .gz if it is plain"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            row = json.loads(text) if text else None
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
        except json.JSONDecodeError as error:
            fault = "the line stops in the middle" if error.pos >= len(text) else error.msg
            raise DataError(f"{where}: not valid JSON at column {error.colno} ({fault}); one object a line") from None
        except RecursionError:
            raise DataError(f"{where}: nested too deeply; one flat object a line") from None
        if row is None and not text:
            continue
        if not isinstance(row, dict):
            found = "the file is one JSON array" if isinstance(row, list) and number == 1 else type(row).__name__
            raise DataError(f"{where}: expected an object, found {found}; write JSON Lines, one object a line")
        yield where, row


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not readable as Parquet after row {number} ({reason}); fetch it again") from None
