"""Out-of-core construction of bm25s's index: two passes over the documents, arrays on disk.

bm25s builds from all documents at once (for 21 million passages some 50 GB). Its index is a matrix of scores in CSC
form; this makes the same matrix, to the last bit, its columns in another order: the first pass writes each document's
words and counts to disk, the second computes their scores and puts each where its word's column is.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.operators.retrieval.bm25s_import import bm25s

CHUNK = 1 << 22
"""Postings (a word of a document) in one chunk."""


@dataclass(frozen=True)
class _Postings:
    """Documents one after another: `words` and `counts` of each (int32, on disk), `distinct` words and `lengths`."""

    vocabulary: dict[str, int]
    words: NDArray[np.int32]
    counts: NDArray[np.int32]
    distinct: NDArray[np.int32]
    lengths: NDArray[np.int32]

    def chunks(self, size: int) -> Iterator[tuple[slice, slice]]:
        """Documents and their postings, about `size` of these at a time."""
        ends = np.cumsum(self.distinct, dtype=np.int64)
        first = start = 0
        while first < len(ends):
            last = max(first + 1, int(np.searchsorted(ends, start + size, "right")))
            end = int(ends[last - 1])
            yield slice(first, last), slice(start, end)
            first, start = last, end


def build_index(documents: Iterable[Sequence[str]], scratch: Path) -> bm25s.BM25:
    """The index of documents given as lists of words, read once; `scratch` is an existing folder that it stays in.

    In memory are the vocabulary, a few bytes a document and a chunk of postings. Raises ValueError where no document
    has a word.
    """
    index = bm25s.BM25()
    assert index.method == index.idf_method == "lucene"
    p = _read(documents, scratch)
    if not len(p.words):
        raise ValueError("no passage of the corpus holds a word")
    n, frequency = len(p.lengths), np.zeros(len(p.vocabulary), np.int64)
    for _, part in p.chunks(CHUNK):
        frequency += np.bincount(p.words[part], minlength=len(frequency))
    starts = np.concatenate([[0], np.cumsum(frequency)])
    idf = np.array([math.log(1 + (n - df + 0.5) / (df + 0.5)) for df in frequency.tolist()], np.float32)
    norm = index.k1 * ((1 - index.b) + index.b * p.lengths / p.lengths.mean())
    data = np.memmap(scratch / "data", np.float32, "w+", shape=(len(p.words),))
    rows = np.memmap(scratch / "rows", np.int32, "w+", shape=(len(p.words),))
    free = starts[:-1].copy()  # the next free place in each word's column
    for documents_, part in p.chunks(CHUNK):
        document = np.repeat(np.arange(documents_.start, documents_.stop, dtype=np.int32), p.distinct[documents_])
        words, count = p.words[part], p.counts[part].astype(np.float32)
        score = idf[words] * (count / (norm[document] + count))
        order = np.argsort(words, kind="stable")  # documents stay in order within a column
        word, first, times = np.unique(words[order], return_index=True, return_counts=True)
        place = np.arange(len(order)) + np.repeat(free[word] - first, times)
        data[place], rows[place] = score[order], document[order]
        free[word] += times
    index.scores = {"data": data, "indices": rows, "indptr": starts, "num_docs": n}
    index.vocab_dict, index.nonoccurrence_array = p.vocabulary, None
    return index


def _read(documents: Iterable[Sequence[str]], scratch: Path) -> _Postings:
    vocabulary: dict[str, int] = {}
    words, counts, distinct, lengths = array("i"), array("i"), array("i"), array("i")
    with (scratch / "words").open("wb") as words_file, (scratch / "counts").open("wb") as counts_file:

        def flush() -> None:
            words.tofile(words_file)
            counts.tofile(counts_file)
            del words[:], counts[:]

        for document in documents:
            counted = Counter([vocabulary.setdefault(word, len(vocabulary)) for word in document])
            words.extend(counted.keys())
            counts.extend(counted.values())
            distinct.append(len(counted))
            lengths.append(len(document))
            if len(words) >= CHUNK:
                flush()
        flush()
    return _Postings(
        vocabulary,
        _on_disk(scratch / "words"),
        _on_disk(scratch / "counts"),
        np.frombuffer(distinct, np.int32),
        np.frombuffer(lengths, np.int32),
    )


def _on_disk(path: Path) -> NDArray[np.int32]:
    return np.memmap(path, np.int32, "r") if path.stat().st_size else np.empty(0, np.int32)
