"""The index of a corpus file: bm25s's to the last bit, built once, in little memory, found again without reading."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import bm25s
import numpy as np
import pytest

from harness.operators.retrieval import corpus_index, index_builder
from harness.operators.retrieval.artifact_cache import stored
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.operators.retrieval.corpus_index import file_key, file_retriever
from harness.operators.retrieval.index_builder import build_index
from harness.tasks.benchmarks import DataError
from harness.tasks.benchmarks.passages import PassageStore, write_passages
from harness.types import Passage

ROOT = Path(__file__).parents[3]
N = 20_000


def generated(n: int, words: int = 12) -> list[Passage]:
    """Titles that repeat, words of Zipf-like frequency, and many equal passages, so that there are ties."""
    drawn = np.random.default_rng(0).zipf(1.3, (n, words)) % 1000
    texts = [" ".join(f"word{w}" for w in row) for row in (drawn if words > 12 else drawn[: n // 2]).tolist()]
    return [Passage(str(i), f"Place{i % 700}", texts[i % len(texts)]) for i in range(n)]


def write(path: Path, passages: list[Passage]) -> Path:
    rows = (json.dumps({"id": p.id, "title": p.title, "text": p.text}) + "\n" for p in passages)
    path.write_bytes(gzip.compress("".join(rows).encode(), 1))
    return path


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return generated(N)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, passages: list[Passage]) -> Path:
    return write(tmp_path_factory.mktemp("corpus") / "corpus.jsonl.gz", passages)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A folder with the corpus' index."""
    folder = tmp_path_factory.mktemp("cache") / "bm25"
    file_retriever(corpus, folder)
    return folder


def test_a_files_index_finds_what_the_one_in_memory_finds(passages: list[Passage], corpus: Path, index: Path) -> None:
    from_file, stored_passages = file_retriever(corpus, index)
    in_memory = BM25Retriever(passages)
    assert len(from_file) == len(stored_passages) == N
    queries = ["word1", "word2 word9 place77", "place12", "word999 word17 word17", "zzz", "word3 place699 word123"]
    for query in queries:
        assert from_file.search(query, 20) == in_memory.search(query, 20)
    assert len(from_file.search("word1", 20)) == 20


@pytest.mark.parametrize("chunk", [7, 1000, 1 << 22])
def test_the_matrix_is_bm25s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(index_builder, "CHUNK", chunk)
    rng = np.random.default_rng(1)
    documents = [[f"w{w}" for w in rng.zipf(1.5, rng.integers(0, 30)) % 300] for _ in range(400)]
    ours = build_index(iter(documents), tmp_path)
    theirs = bm25s.BM25()
    theirs.index(documents, show_progress=False)

    def column(made: bm25s.BM25, word: str) -> tuple[list[int], list[float]]:
        at = made.vocab_dict[word]
        part = slice(made.scores["indptr"][at], made.scores["indptr"][at + 1])
        return made.scores["indices"][part].tolist(), made.scores["data"][part].tolist()

    words = set(theirs.vocab_dict) - {""}
    assert set(ours.vocab_dict) == words
    for word in words:
        assert column(ours, word) == column(theirs, word)


def test_a_second_start_reads_nothing_of_the_corpus_and_holds_little(
    corpus: Path, index: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus_index, "iter_corpus", lambda path: pytest.fail("the corpus is read again"))
    monkeypatch.setattr(
        "harness.operators.retrieval.artifact_cache._checksum", lambda path: pytest.fail("the index is read whole")
    )
    tracemalloc.start()
    try:
        retriever, _ = file_retriever(corpus, index)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert retriever.search("word5", 3)
    assert peak < 1_500_000  # the vocabulary of 1,700 words; the passages would be 6 MB, the scores 2 MB
    line = capsys.readouterr().err
    assert line.startswith(f"index: {N} passages, ")
    assert line.endswith(" MB, reused\n")


def test_an_index_is_built_in_less_memory_than_the_corpus_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(index_builder, "CHUNK", 5_000)
    path = write(tmp_path / "corpus.jsonl.gz", generated(1200, words=300))
    tracemalloc.start()
    try:
        file_retriever(path, tmp_path / "bm25")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000  # 3 MB of text, 360,000 words
    finally:
        tracemalloc.stop()
    assert ", built in " in capsys.readouterr().err


def test_processes_that_start_together_build_once(tmp_path: Path, corpus: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.operators.retrieval.corpus_index import file_retriever;"
        "print('ready', flush=True); sys.stdin.readline();"
        f"r, _ = file_retriever(Path({str(corpus)!r}), Path({str(tmp_path / 'bm25')!r}));"
        "print(len(r.search('word1', 5)))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [p.stdout.readline() for p in started if p.stdout] == ["ready\n"] * 2
    for p in started:
        assert p.stdin is not None
        p.stdin.write("\n")
        p.stdin.flush()
    ended = [p.communicate(timeout=120) for p in started]
    assert [out for out, _ in ended] == ["5\n"] * 2
    said = sorted("built" if "built in" in err else "reused" for _, err in ended)
    assert said == ["built", "reused"]
    assert len(list((tmp_path / "bm25").iterdir())) == 1


def test_what_a_killed_process_left_is_cleared_and_a_failure_leaves_nothing(tmp_path: Path, corpus: Path) -> None:
    folder = tmp_path / "bm25"
    left = folder / f".building-{file_key(corpus)}-abc"
    left.mkdir(parents=True)
    (left / "data").touch()

    def fails(staging: Path) -> None:
        (staging / "half").touch()
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        stored(folder, file_key(corpus), fails)
    assert list(folder.iterdir()) == []


def rewritten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def noted(path: Path) -> None:
    origin = {"file": "x", "sha256": "0" * 64}
    entry = {"sha256": "0" * 64, "bytes": 1, "rows": {}, "licences": {}, "origin": origin}
    (path.parent / "manifest.json").write_text(json.dumps({"files": {path.name: entry}}))


def test_an_index_is_known_by_the_content_of_its_file(tmp_path: Path) -> None:
    path = write(tmp_path / "corpus.jsonl.gz", generated(3))
    before, state = file_key(path), path.stat()
    rewritten(path)
    noted(path)
    assert file_key(path) == before
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert path.stat().st_size == state.st_size
    assert file_key(path) != before


@pytest.mark.parametrize("change", [rewritten, noted, lambda path: write(path, generated(4))])
def test_of_a_large_file_another_time_size_or_checksum_is_another_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(corpus_index, "HASHED_BYTES", 0)
    path = write(tmp_path / "corpus.jsonl.gz", generated(3))
    before = file_key(path)
    assert file_key(path) == before
    change(path)
    assert file_key(path) != before


def test_a_damaged_store_of_passages_is_made_again(tmp_path: Path) -> None:
    path, folder = write(tmp_path / "corpus.jsonl.gz", generated(50)), tmp_path / "bm25"
    truth = file_retriever(path, folder)[0].search("word1", 5)
    (home,) = folder.iterdir()
    store = home / corpus_index.PASSAGES
    store.write_bytes(store.read_bytes()[:-4096])
    assert file_retriever(path, folder)[0].search("word1", 5) == truth


def test_a_corpus_with_a_repeated_id_is_refused(tmp_path: Path) -> None:
    twice = [*generated(5), Passage("3", "Again", "text")]
    with pytest.raises(DataError, match="repeat in the corpus, such as '3'"):
        file_retriever(write(tmp_path / "corpus.jsonl.gz", twice), tmp_path / "bm25")
    assert list((tmp_path / "bm25").iterdir()) == []


def test_passages_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    held = [Passage("9", "Chad", "a\ncountry"), Passage("x", "São 'Tomé'", "\x00 ∅"), Passage("", "Chad", "")]
    assert write_passages(tmp_path / "p.sqlite", iter(held)) == 3
    kept = PassageStore(tmp_path / "p.sqlite")
    assert list(kept) == [kept[i] for i in range(3)] == held
    assert (kept[-1], kept[1:]) == (held[-1], held[1:])
    with pytest.raises(IndexError):
        kept[3]
    assert kept.ids_of(["Chad", "Mali", "São 'Tomé'"]) == {"Chad": ("9", ""), "São 'Tomé'": ("x",)}
