"""BM25 retrieval: against a plain implementation, ties, the stored index, quality on the world."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.operators.retrieval.bm25 import BM25Retriever, Tokenizer, corpus_checksum
from harness.types import Passage
from tests.support.examples import examples

ROOT = Path(__file__).parents[3]
PASSAGES = [
    Passage("1", "Chad", "Chad is a country. Capital: N'Djamena."),
    Passage("2", "Niger", "Niger is a country. Capital: Niamey."),
    Passage("3", "São Paulo", "São Paulo is a city in Brazil."),
]


def plain_bm25(passages: list[Passage], query: str, k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25, written out."""
    tokenize = Tokenizer()
    docs = [Counter(tokenize(f"{p.title} {p.text}")) for p in passages]
    mean = sum(d.total() for d in docs) / len(docs)
    scores = []
    for doc in docs:
        score = 0.0
        for word in tokenize(query):
            n = sum(word in d for d in docs)
            idf = math.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
            score += idf * doc[word] / (doc[word] + k1 * (1 - b + b * doc.total() / mean)) if n else 0.0
        scores.append(score)
    return scores


WORDS = st.sampled_from(["red", "green", "blue", "fish", "bird", "house", "running", "runs", "the", "of"])


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=1, max_size=12), WORDS, WORDS)
def test_results_agree_with_the_formula_written_out(texts: list[str], first: str, second: str) -> None:
    passages = [Passage(str(i), "fish", text) for i, text in enumerate(texts)]
    query = f"{first} {second}"
    scores = plain_bm25(passages, query)
    hits = BM25Retriever(passages).search(query, len(passages))
    assert sorted(int(h.passage.id) for h in hits) == [i for i, s in enumerate(scores) if s > 1e-9]
    assert [h.score for h in hits] == pytest.approx(sorted((s for s in scores if s > 1e-9), reverse=True), rel=1e-4)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 12), st.integers(1, 20))
def test_equal_passages_come_in_corpus_order(k: int, n: int) -> None:
    index = BM25Retriever([Passage(str(i), "Chad", "a country") for i in range(n)])
    assert [h.passage.id for h in index.search("chad", k)] == [str(i) for i in range(min(k, n))]


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("capital of Chad", "Chad"),
        ("NDJAMENA", "Chad"),
        ("N’Djamena", "Chad"),
        ("Sao Paulo", "São Paulo"),
        ("cities", "São Paulo"),
    ],
)
def test_case_accents_apostrophes_and_endings_do_not_matter(query: str, title: str) -> None:
    assert BM25Retriever(PASSAGES).search(query, 1)[0].passage.title == title


@pytest.mark.parametrize("query", ["", "???", "zzz", "the", " \n", "\x00\ud800"])
def test_a_query_without_a_known_word_finds_nothing(query: str) -> None:
    assert BM25Retriever(PASSAGES).search(query, 3) == ()


def test_bad_corpora_and_bad_k_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        BM25Retriever([])
    with pytest.raises(ValueError, match="repeat"):
        BM25Retriever([PASSAGES[0], PASSAGES[0]])
    with pytest.raises(ValueError, match="top_k"):
        BM25Retriever(PASSAGES).search("chad", 0)


def test_a_stored_index_gives_the_same_results_without_being_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = ["capital of Chad", "country", "Brazil city", "zzz"]
    built = [BM25Retriever(PASSAGES, tmp_path).search(q, 3) for q in queries]
    monkeypatch.setattr(BM25Retriever, "_build", lambda self: pytest.fail("built again"))
    assert [BM25Retriever(PASSAGES, tmp_path).search(q, 3) for q in queries] == built
    assert len(list(tmp_path.iterdir())) == 1


def test_another_corpus_gets_another_index(tmp_path: Path) -> None:
    BM25Retriever(PASSAGES, tmp_path)
    BM25Retriever(PASSAGES[:2], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert corpus_checksum(PASSAGES) != corpus_checksum(PASSAGES[::-1])


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete", "manifest"])
def test_a_damaged_index_is_noticed_and_rebuilt(tmp_path: Path, damage: str) -> None:
    truth = BM25Retriever(PASSAGES, tmp_path).search("capital", 3)
    (home,) = tmp_path.iterdir()
    victim = home / "manifest.json" if damage == "manifest" else home / "data.csc.index.npy"
    content = bytearray(victim.read_bytes())
    if damage == "delete":
        victim.unlink()
    elif damage == "truncate":
        victim.write_bytes(content[:-3])
    else:
        content[-1] ^= 1
        victim.write_bytes(content)
    assert BM25Retriever(PASSAGES, tmp_path).search("capital", 3) == truth
    assert BM25Retriever(PASSAGES, tmp_path).search("capital", 3) == truth


def test_an_unwritable_directory_costs_the_copy_not_the_search(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert BM25Retriever(PASSAGES, blocked).search("capital of Chad", 1)[0].passage.title == "Chad"
