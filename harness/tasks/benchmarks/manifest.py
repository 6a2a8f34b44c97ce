"""Manifest of a prepared folder (`manifest.json`): every file's checksum, counts, origin and licence."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.hub import sha256_of
from harness.tasks.benchmarks.row_formats import Row

MANIFEST = "manifest.json"
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Origin(BaseModel):
    """Where a file's rows come from: a file of a hub data set at a commit, or a local file (then only its name)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: str
    sha256: _Sha256
    repository: str | None = None
    commit: str | None = None


class FileEntry(BaseModel):
    """One prepared file. `rows` by benchmark (of a corpus: `wikipedia`); `licences` of these; `dropped`: rows left out,
    by reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sha256: _Sha256
    bytes: int
    rows: dict[str, int]
    licences: dict[str, str]
    origin: Origin
    dropped: dict[str, int] = {}
    inputs: dict[str, _Sha256] = {}
    """Checksums of the prepared files this one was checked against (training questions against the test files)."""


class Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = 1
    files: dict[str, FileEntry] = {}

    def with_file(self, name: str, entry: FileEntry) -> Manifest:
        return self.model_copy(update={"files": dict(sorted({**self.files, name: entry}.items()))})


def read_manifest(folder: Path) -> Manifest:
    """The folder's manifest, an empty one if there is none. Raises DataError for a damaged one."""
    path = folder / MANIFEST
    if not path.exists():
        return Manifest()
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}; delete it and prepare again") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    _replace(folder / MANIFEST, (manifest.model_dump_json(indent=2) + "\n").encode())


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Rows in this project's layout. The same rows give the same bytes; the file appears whole or not at all."""
    lines = []
    for row in rows:
        question = row.question
        fields = {
            "id": question.id,
            "benchmark": question.suite,
            "question": question.text,
            "golden_answers": list(question.answers),
            "hops": question.hops,
            "supporting_titles": list(row.titles) if row.titles is not None else None,
            "source": row.source,
        }
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    _replace(path, gzip.compress("".join(lines).encode(), mtime=0))


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.tmp")
    with draft.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)


def is_verified(folder: Path, name: str, entry: FileEntry) -> bool:
    """Whether the file is there with the manifest's checksum."""
    path = folder / name
    return path.is_file() and path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256
