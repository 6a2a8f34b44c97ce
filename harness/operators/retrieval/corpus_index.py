"""The BM25 index of a corpus file: built once, then read from disk, for corpora larger than memory.

Resources for wiki-18's 21 million passages. Building: one process, two passes, memory for the vocabulary (some
200 bytes a distinct word: 1 to 2 GB), 16 bytes a passage and a chunk of postings; twice the index's size of free disk.
Then every process that searches: the vocabulary again, as bm25s loads it; passages and postings are memory-mapped:
they share the system's page cache. A query takes eight bytes a passage
for its scores, and time that grows with the corpus: many trials had better ask one server (`server.py`).
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.operators.retrieval.artifact_cache import stored
from harness.operators.retrieval.bm25 import FORMAT, BM25Retriever, Tokenizer, indexed_text
from harness.operators.retrieval.bm25s_import import bm25s
from harness.operators.retrieval.index_builder import build_index
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.hub import sha256_of
from harness.tasks.benchmarks.load import iter_corpus
from harness.tasks.benchmarks.manifest import read_manifest
from harness.tasks.benchmarks.passages import PassageStore, write_passages
from harness.types import Passage

PASSAGES = "passages.sqlite"
REPORT_EVERY = 1_000_000
HASHED_BYTES = 256 << 20
"""The largest corpus file that is hashed at every start (a quarter of a second)."""


def file_retriever(path: Path, directory: Path) -> tuple[BM25Retriever, PassageStore]:
    """(retriever over the passages of a corpus file, the passages); its index is kept in `directory`. Prints a line.

    Raises DataError for a file that is no corpus, OSError where the index cannot be kept.
    """
    start = time.perf_counter()
    built = False

    def build(staging: Path) -> None:
        nonlocal built
        built = True
        _build(path, staging)

    home = stored(directory, file_key(path), build)
    passages = PassageStore(home / PASSAGES)
    index = bm25s.BM25.load(home, mmap=True, load_corpus=False, show_progress=False)
    size = sum(file.stat().st_size for file in home.iterdir())
    how = f"built in {time.perf_counter() - start:.1f} s" if built else "reused"
    _report(f"index: {len(passages)} passages, {size / 1e6:.1f} MB, {how}")
    return BM25Retriever(passages, index=index), passages


def file_key(path: Path) -> str:
    """Name of a corpus file's index: a hash of its content.

    A file above `HASHED_BYTES` is not read at every start: its path, size, time and the checksum in the manifest that
    `prepare` wrote stand for its content.
    """
    try:
        state = path.stat()
        if state.st_size <= HASHED_BYTES:
            return _name(sha256_of(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    entry = read_manifest(path.parent).files.get(path.name)
    checksum = entry.sha256 if entry is not None else ""
    return _name(str(path.resolve()), str(state.st_size), str(state.st_mtime_ns), checksum)


def _name(*parts: str) -> str:
    return hashlib.sha256("\0".join((FORMAT, *parts)).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _build(path: Path, staging: Path) -> None:
    if not write_passages(staging / PASSAGES, _reported(iter_corpus(path))):
        raise DataError(f"{path}: holds no passage; fetch it again")
    tokenize = Tokenizer()
    documents = (tokenize(indexed_text(p)) for p in PassageStore(staging / PASSAGES))
    with tempfile.TemporaryDirectory(dir=staging, prefix=".scratch-") as scratch:
        build_index(documents, Path(scratch)).save(staging, show_progress=False)


def _reported(passages: Iterable[Passage]) -> Iterator[Passage]:
    for n, passage in enumerate(passages, 1):
        if n % REPORT_EVERY == 0:
            _report(f"index: {n} passages read")
        yield passage


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
