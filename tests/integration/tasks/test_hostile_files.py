"""`python -m harness.data prepare` on files that are damaged or made to do harm: one printable line, bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.tasks.benchmarks import DataError, load_questions
from harness.tasks.benchmarks.cli import main
from tests.support.qa_layouts import flashrag_row, jsonl, own_row, passage_row, write

GOOD = jsonl([flashrag_row(0)])


def plain(content: bytes) -> Callable[[Path], None]:
    return lambda folder: _bytes(folder / "nq.test.jsonl", content)


def zipped(content: bytes, cut: int | None = None) -> Callable[[Path], None]:
    return lambda folder: _bytes(folder / "nq.test.jsonl.gz", gzip.compress(content)[:cut])


def _bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def one_long_line(folder: Path) -> None:
    """128 MB in 128 kB; 3 GB in 3 MB is read no further."""
    with gzip.open(folder / "nq.test.jsonl.gz", "wb", compresslevel=1) as stream:
        stream.write(b'{"id": "')
        block = b"a" * (1 << 24)
        for _ in range(8):
            stream.write(block)


def blank_lines(folder: Path) -> None:
    with gzip.open(folder / "nq.test.jsonl.gz", "wb", compresslevel=1) as stream:
        stream.write(b"\n" * (1 << 23))


def repeated_text(folder: Path) -> None:
    """200 GB of text in some kB: a dictionary of one megabyte, named by every row."""
    rows = 200_000
    text = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), ["x" * 1_000_000])
    table = pa.table({"id": text, "question": text, "golden_answers": text})
    pq.write_table(table, folder / "nq.test.parquet", compression="zstd", row_group_size=rows)


def long_list(folder: Path) -> None:
    """One row whose list of answers has 20 million empty entries."""
    empty = pa.ListArray.from_arrays([0, 20_000_000], pa.nulls(20_000_000, pa.int8()))
    table = pa.table({"id": ["a"], "question": ["q"], "golden_answers": empty})
    pq.write_table(table, folder / "nq.test.parquet", compression="zstd")


def packed_text(folder: Path) -> None:
    table = pa.table({"id": ["a"], "question": ["q" * 100_000_000], "golden_answers": [["x"]]})
    pq.write_table(table, folder / "nq.test.parquet", compression="zstd", use_dictionary=False)


def foreign_bytes(folder: Path) -> None:
    """Parquet text that is not UTF-8."""
    text = pa.array([b"\xff\xfe"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": text, "question": ["q"], "golden_answers": [["x"]]}), folder / "nq.test.parquet")


def cut_parquet(folder: Path) -> None:
    path = write(folder / "nq.test.parquet", [own_row(n) for n in range(50)])
    path.write_bytes(path.read_bytes()[:-40])


def damaged_parquet(folder: Path) -> None:
    path = write(folder / "nq.test.parquet", [own_row(n) for n in range(50)])
    content = bytearray(path.read_bytes())
    content[20:200] = b"\xff" * 180
    path.write_bytes(bytes(content))


def odd_name(folder: Path) -> None:
    os.rename(write(folder / "x.jsonl", [flashrag_row(0)]), os.fsencode(folder) + b"/nq.\xff.test.jsonl")


def unreadable(folder: Path) -> None:
    (folder / "nq.test.jsonl").symlink_to("/proc/self/mem")


def foreign_manifest(folder: Path) -> None:
    write(folder / "nq.test.jsonl", [flashrag_row(0)])
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "manifest.json").write_text(
        '{"files": {"[/bold]\\u001b[2J": {"bytes": ' + "1" * 5000 + "}}}"
    )


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "surrogate in a question": (plain(GOOD + b'{"id":"a","question":"\\ud83d","golden_answers":["x"]}'), ":2: "),
    "surrogate in a field's name": (plain(GOOD + b'{"id":"a","\\ud83d":1}'), ":2: "),
    "surrogate in raw bytes": (plain(GOOD + b'{"id":"\xed\xa0\xbd"}'), ":2: not UTF-8"),
    "an integer of 5000 digits": (plain(GOOD + b'{"id":' + b"1" * 5000 + b"}"), ":2: a number of 5000 digits"),
    "an integer of 400 digits": (plain(GOOD + b'{"id":' + b"1" * 400 + b"}"), ":2: a number of 400 digits"),
    "markup in a field's name": (plain(GOOD + b'{"[/bold]":1}'), "[/bold]"),
    "an escape in a field's name": (plain(GOOD + b'{"\\u001b[2J\\u0007":1}'), r"\x1b[2J"),
    "markup in a value": (plain(GOOD + b'{"id":"[/red]","question":5,"golden_answers":["x"]}'), ":2: `question` is 5"),
    "a line break in a benchmark's name": (plain(jsonl([own_row(benchmark="a\nb\x1b]0;x\x07")])), ":1: `benchmark`"),
    "one endless line": (one_long_line, ":1: longer than"),
    "blank lines": (blank_lines, "100000 blank lines"),
    "gzip cut": (zipped(GOOD * 100, cut=60), "stops in the middle"),
    "gzip that is none": (lambda f: _bytes(f / "nq.test.jsonl.gz", b"plain"), "not readable as gzip"),
    "deep nesting": (plain(GOOD + b"[" * 900 + b"]" * 900), ":2: "),
    "deeper nesting": (plain(GOOD + b'{"a":' * 100_000), ":2: "),
    "not a number": (plain(GOOD + b'{"id":NaN,"question":"q","golden_answers":["x"]}'), ":2: `id` is nan"),
    "nothing": (plain(b""), "holds no question"),
    "binary": (plain(bytes(range(256)) * 9), ":1: "),
    "an array": (plain(b"[1, 2]"), ":1: expected an object"),
    "the same id twice": (plain(GOOD + GOOD), ":2: id"),
    "Parquet of 200 GB of repeated text": (repeated_text, "nq.test.parquet, row 1: "),
    "Parquet of 20 million answers": (long_list, "values; not read"),
    "Parquet of one packed text": (packed_text, "unpacks to more than"),
    "Parquet that is not UTF-8": (foreign_bytes, "not readable as Parquet"),
    "Parquet cut": (cut_parquet, "not readable as Parquet"),
    "Parquet damaged": (damaged_parquet, "not readable as Parquet"),
    "a name that is not UTF-8": (odd_name, "not valid Unicode"),
    "a file that cannot be read": (unreadable, "cannot be read"),
    "a manifest of somebody else": (foreign_manifest, "manifest.json"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_printable_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, fact = HOSTILE[name]
    folder = tmp_path / "from"
    folder.mkdir()
    make(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = main(
        ["prepare", "--out", str(tmp_path / "out"), "--from", str(folder), "--benchmarks", "nq", "--no-training"]
    )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    said = capsys.readouterr()
    assert status == 1
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.err.rstrip("\n").isprintable()
    assert fact in said.err
    assert grown < 600  # MB


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    write(tmp_path / "nq.test.jsonl", [flashrag_row(0)])
    assert main(["prepare", "--out", str(tmp_path / "file" / "out"), "--from", str(tmp_path), "--no-training"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_neither_markup_nor_escapes(tmp_path: Path) -> None:
    """In a process whose output claims to be a terminal, with colours."""
    write(tmp_path / "nq.test.jsonl", [flashrag_row(0)])
    (tmp_path / "nq.test.jsonl").write_bytes(GOOD + b'{"[/bold][red]\\u001b[2J":1}\n')
    command = [
        "prepare",
        "--out",
        str(tmp_path / "out"),
        "--from",
        str(tmp_path),
        "--benchmarks",
        "nq",
        "--no-training",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "harness.data", *command], capture_output=True, text=True, timeout=120,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "60"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "[/bold][red]\\x1b[2J" in done.stderr
    assert "\x1b[2J" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_large_honest_file_is_read(tmp_path: Path) -> None:
    rows = [flashrag_row(n, metadata={"context": ["words " * 2000]}) for n in range(3000)]  # 36 MB, 1 : 300 in gzip
    for suffix in ("jsonl.gz", "parquet"):
        assert len(load_questions(write(tmp_path / f"nq.test.{suffix}", rows))) == 3000


def test_memory_stays_bounded_when_a_corpus_repeats_itself(tmp_path: Path) -> None:
    line = json.dumps(passage_row(0, contents="T\n" + "x" * 1_000_000)).encode() + b"\n"
    with gzip.open(tmp_path / "corpus.jsonl.gz", "wb") as stream:
        for _ in range(150):
            stream.write(line)
    from harness.tasks.benchmarks import iter_corpus

    with pytest.raises(DataError, match="unpacks to more than"):
        for _ in iter_corpus(tmp_path / "corpus.jsonl.gz"):
            pass
