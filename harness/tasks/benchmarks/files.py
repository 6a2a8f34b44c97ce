"""Rows of JSON Lines (plain or gzip'd) and Parquet files, one at a time, each with its location in the file.

Memory is bounded by the file's format, not by its size: lines, rows and Parquet batches have a largest size, so that a
small compressed file cannot unpack to more than the machine holds.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.tasks.benchmarks.errors import DataError
from harness.tasks.boundary import parse_row, value_fault

SUFFIXES = (".jsonl", ".jsonl.gz", ".json.gz", ".json", ".parquet")
MAX_LINE_BYTES = 8 << 20
MAX_BLANK_LINES = 100_000
"""In a row. A file of nothing else would take hours."""
BATCH_ROWS, BATCH_BYTES = 1024, 64 << 20
"""Rows of a Parquet batch, fewer where their columns are large."""
MAX_PACKING, ALWAYS_ALLOWED_BYTES = 200, 64 << 20
"""A file or Parquet column may unpack to so many times its stored size, and to so many bytes whatever that is."""
_BOMB = f"unpacks to more than {MAX_PACKING} times its size; not read any further"
MAX_VALUES, MAX_VALUES_PER_ROW = 1_000_000, 256
"""A Parquet column may hold so many values, and so many more a row on average."""


def is_data_file(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def iter_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`file:line` or `file, row n`, row) for every row, without holding the file in memory.

    Every string is valid Unicode and every integer fits 64 bits. Raises DataError for a missing, truncated, oversized
    or undecodable file and for a row that is not an object.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a .jsonl, .jsonl.gz or .parquet file")
    if not is_data_file(path):
        raise DataError(f"{path}: unknown kind of file; known are {', '.join(SUFFIXES)}")
    for where, row in _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path):
        fault = value_fault(row)
        if fault is not None:
            raise DataError(f"{where}: {fault}")
        yield where, row


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = unpacked = blank = 0
    try:
        limit = _unpacked_limit(path.stat().st_size)
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: longer than {MAX_LINE_BYTES >> 20} MiB; one object a line")
                unpacked += len(line)
                if unpacked > limit:
                    raise DataError(f"{path}:{number}: {_BOMB}")
                blank = 0 if line.strip() else blank + 1
                if blank > MAX_BLANK_LINES:
                    raise DataError(f"{path}:{number}: {MAX_BLANK_LINES} blank lines; not read any further")
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


def _unpacked_limit(stored: int) -> int:
    return max(ALWAYS_ALLOWED_BYTES, MAX_PACKING * stored)


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        where = f"{path}:{number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            row = parse_row(text) if text else None
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
        except json.JSONDecodeError as error:
            fault = "the line stops in the middle" if error.pos >= len(text) else error.msg
            raise DataError(f"{where}: not valid JSON at column {error.colno} ({fault}); one object a line") from None
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
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

    number = unpacked = 0
    try:
        limit = _unpacked_limit(path.stat().st_size)
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=_batch_rows(path, table.metadata)):
                unpacked += batch.nbytes
                if unpacked > limit:
                    raise DataError(f"{path}, row {number + 1}: {_BOMB}")
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: also text that is not UTF-8
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise DataError(f"{path}: not readable as Parquet after row {number} ({reason}); fetch it again") from None


def _batch_rows(path: Path, metadata: Any) -> int:
    """Rows to decode at once. Raises DataError for a column that unpacks to far more than is stored of it."""
    largest = 1
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            size = column.total_uncompressed_size
            if size > _unpacked_limit(min(column.total_compressed_size, path.stat().st_size)):
                raise DataError(f"{path}: column {column.path_in_schema}: {_BOMB}")
            if column.num_values > MAX_VALUES + MAX_VALUES_PER_ROW * group.num_rows:
                raise DataError(f"{path}: column {column.path_in_schema} has {column.num_values} values; not read")
            largest = max(largest, size)
    return max(8, min(BATCH_ROWS, BATCH_BYTES // largest))
