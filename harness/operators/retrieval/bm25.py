"""BM25 over passages, in process (library: bm25s; stems by PyStemmer). The index can be kept in a directory.

An index on disk lives in a folder named by the checksum of corpus and tokenisation (`artifact_cache.py` keeps it
whole). Passages of a corpus file stay on disk themselves: see `corpus_index.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import Stemmer  # type: ignore[import-not-found]

from harness.operators.base import Hit, Retrieval
from harness.operators.retrieval.artifact_cache import stored
from harness.operators.retrieval.bm25s_import import STOPWORDS_EN, bm25s
from harness.types import Passage

log = logging.getLogger(__name__)

_WORD = re.compile(r"\w+")
_STOP = frozenset(STOPWORDS_EN)
FORMAT = f"1 bm25s {bm25s.__version__}"
"""Part of every index's name: raise the number when tokenisation or the stored files change."""
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
        return list(self._stem.stemWords(kept or words))  # a query of stop words alone is still a query


def indexed_text(passage: Passage) -> str:
    return f"{passage.title} {passage.text}"


def corpus_checksum(passages: Sequence[Passage]) -> str:
    """SHA-256 (hex) of the passages in order, and of how they are indexed."""
    digest = hashlib.sha256(FORMAT.encode())
    for p in passages:
        digest.update(json.dumps([p.id, p.title, p.text], ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


class BM25Retriever:
    """Retriever over `passages` (title and text are indexed together).

    With `directory` the index is loaded from there (memory-mapped) or built and stored there. With `index`, one of
    these passages, nothing is built and they may be on disk. Results are the positive scores, best first; ties go to
    the passage that comes first in the corpus. Reported latency is 0: in process there is no service whose latency
    could be observed, and results stay equal from run to run.
    Raises ValueError for an empty corpus or repeated passage ids.
    """

    def __init__(
        self, passages: Sequence[Passage], directory: Path | None = None, *, index: bm25s.BM25 | None = None
    ) -> None:
        self._tokenize = Tokenizer()
        self.passages = passages
        if index is not None:
            self._index = index
            return
        if not passages:
            raise ValueError("cannot index an empty corpus")
        if len({p.id for p in passages}) != len(passages):
            raise ValueError("passage ids repeat in the corpus")
        self.passages = tuple(passages)
        self._index = self._build() if directory is None else self._load_or_build(directory)

    def __len__(self) -> int:
        return len(self.passages)

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
        return tuple(Hit(self.passages[int(i)], float(scores[i])) for i in best)

    async def retrieve(self, queries: Sequence[str], top_k: int) -> list[Retrieval]:
        return [Retrieval(self.search(query, top_k)) for query in queries]

    def _build(self) -> bm25s.BM25:
        index = bm25s.BM25()
        index.index([self._tokenize(indexed_text(p)) for p in self.passages], show_progress=False)
        return index

    def _load_or_build(self, directory: Path) -> bm25s.BM25:
        try:
            key = corpus_checksum(self.passages)[:32]
            home = stored(directory, key, lambda staging: self._build().save(staging, show_progress=False))
            return bm25s.BM25.load(home, mmap=True, load_corpus=False, show_progress=False)
        except OSError as error:  # such as a full disk
            log.warning("search index not stored: %s", error)
            return self._build()
