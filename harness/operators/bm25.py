"""BM25 over passages, in process (library: bm25s; stems by PyStemmer). The index can be kept in a directory.

An index on disk lives in a folder named by the checksum of corpus and tokenisation, is written under another name
and moved into place whole, and every file's checksum is verified before use: a damaged or partial index is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import bm25s  # type: ignore[import-untyped]
import numpy as np
import Stemmer  # type: ignore[import-not-found]
from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

from harness.operators.base import Hit, Retrieval
from harness.types import Passage

log = logging.getLogger(__name__)

_WORD = re.compile(r"\w+")
_STOP = frozenset(STOPWORDS_EN)
_FORMAT = f"1 bm25s {bm25s.__version__}"  # part of the checksum: raise the number when tokenisation changes
_MANIFEST = "manifest.json"
MAX_QUERY_CHARS = 4096


class Tokenizer:
    """Words, lower-cased, accents folded (São = Sao), English stop words dropped, stemmed. Linear in the text."""

    def __init__(self) -> None:
        self._stem = Stemmer.Stemmer("english")

    def __call__(self, text: str) -> list[str]:
        folded = unicodedata.normalize("NFKD", text.casefold().replace("'", "").replace("’", ""))
        plain = "".join(c for c in folded if not unicodedata.combining(c))
        words = _WORD.findall(plain)
        kept = [w for w in words if w not in _STOP]
        return list(self._stem.stemWords(kept or words))  # a query of stop words alone still asks something


def corpus_checksum(passages: Sequence[Passage]) -> str:
    """SHA-256 (hex) of the passages in order, and of how they are indexed."""
    digest = hashlib.sha256(_FORMAT.encode())
    for p in passages:
        digest.update(json.dumps([p.id, p.title, p.text], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class BM25Retriever:
    """Retriever over `passages` (title and text are indexed together).

    With `directory` the index is loaded from there (memory-mapped) or built and stored there. Results are the
    positive scores, best first; ties go to the passage that comes first in the corpus. Reported latency is 0: in
    process there is no service whose latency could be observed, and results stay equal from run to run.
    Raises ValueError for an empty corpus or repeated passage ids.
    """

    def __init__(self, passages: Sequence[Passage], directory: Path | None = None) -> None:
        if not passages:
            raise ValueError("cannot index an empty corpus")
        if len({p.id for p in passages}) != len(passages):
            raise ValueError("passage ids repeat in the corpus")
        self._passages = tuple(passages)
        self._tokenize = Tokenizer()
        self._index = self._build() if directory is None else self._load_or_build(directory)

    def __len__(self) -> int:
        return len(self._passages)

    def search(self, query: str, top_k: int) -> tuple[Hit, ...]:
        """The `top_k` best passages of one query."""
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, not {top_k}")
        tokens = self._tokenize(query[:MAX_QUERY_CHARS])
        known = [t for t in tokens if t in self._index.vocab_dict]
        if not known:
            return ()
        scores = self._index.get_scores(known)
        k = min(top_k, len(scores))
        # Everything that ties with the k-th best competes, so that the order depends on the corpus alone.
        threshold = np.partition(scores, -k)[-k]
        candidates = np.flatnonzero(scores >= max(threshold, np.finfo(scores.dtype).tiny))
        best = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
        return tuple(Hit(self._passages[i], float(scores[i])) for i in best)

    async def retrieve(self, queries: Sequence[str], top_k: int) -> list[Retrieval]:
        return [Retrieval(self.search(query, top_k)) for query in queries]

    def _build(self) -> bm25s.BM25:
        index = bm25s.BM25()
        index.index([self._tokenize(f"{p.title} {p.text}") for p in self._passages], show_progress=False)
        return index

    def _load_or_build(self, directory: Path) -> bm25s.BM25:
        home = directory / corpus_checksum(self._passages)[:32]
        if home.exists():
            if _intact(home):
                return bm25s.BM25.load(home, mmap=True, load_corpus=False, show_progress=False)
            log.warning("search index %s is damaged: building it again", home.name)
            shutil.rmtree(home, ignore_errors=True)
        index = self._build()
        staging: Path | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(dir=directory, prefix=".building-"))
            index.save(staging, show_progress=False)
            checksums = {path.name: _checksum(path) for path in sorted(staging.iterdir())}
            (staging / _MANIFEST).write_text(json.dumps(checksums), encoding="utf-8")
            os.replace(staging, home)
        except OSError as error:
            # Another process may have been first (equal content), or the disk is full: this index works from memory.
            if staging is not None:
                shutil.rmtree(staging, ignore_errors=True)
            if not home.exists():
                log.warning("search index was not stored: %s", error)
        return index


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _intact(home: Path) -> bool:
    try:
        checksums = json.loads((home / _MANIFEST).read_text(encoding="utf-8"))
        return bool(checksums) and all(_checksum(home / name) == value for name, value in checksums.items())
    except (OSError, ValueError, AttributeError):
        return False
