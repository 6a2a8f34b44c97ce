"""The commands whose kills are tried: preparation of data, a search index, staged output, an evaluation's folder."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from harness.operators.retrieval.bm25s_import import bm25s
from harness.operators.retrieval.corpus_index import PASSAGES, file_retriever
from harness.runs.staging import staged_files, staged_folder
from harness.tasks.benchmarks.cli import ConsoleReporter
from harness.tasks.benchmarks.manifest import is_verified, read_manifest
from harness.tasks.benchmarks.passages import PassageStore
from harness.tasks.benchmarks.prepare import LocalSource, prepare
from tests.support.qa_layouts import own_row, passage_row, search_r1_row, write
from tests.system.faults.killed_commands import Command

INDEX_TIMES = (".lock", "manifest.json", ".sqlite")
"""Files of a search index that note times: the manifest those of files, the store of passages those of its pages."""


@dataclass(frozen=True)
class Inputs:
    """Files that the commands read, in a folder that no kill touches."""

    folder: Path
    questions: int = field(default=20, kw_only=True)

    def make(self) -> None:
        write(self.folder / "nq.test.jsonl.gz", [own_row(n) for n in range(self.questions)])
        write(self.folder / "train.parquet", [search_r1_row(1000 + n) for n in range(self.questions)])
        write(self.folder / "corpus.jsonl.gz", [passage_row(n) for n in range(3 * self.questions)])


def preparation(inputs: Inputs) -> Command:
    def run(place: Path) -> None:
        reporter = ConsoleReporter(Console(file=io.StringIO()))
        source = LocalSource(inputs.folder)
        prepare(source, place / "data", ["nq"], training=True, corpus=True, reporter=reporter)

    def sound(place: Path) -> None:
        out = place / "data"
        for name, entry in read_manifest(out).files.items():
            assert is_verified(out, name, entry), f"{name} is in the manifest and not whole"

    return Command("data prepare", run, sound)


def index(inputs: Inputs) -> Command:
    def run(place: Path) -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            file_retriever(inputs.folder / "corpus.jsonl.gz", place / "bm25")

    def sound(place: Path) -> None:
        for home in (place / "bm25").glob("[!.]*"):
            if home.is_dir():
                bm25s.BM25.load(home, mmap=True, load_corpus=False, show_progress=False)
                assert len(PassageStore(home / PASSAGES)) == 3 * inputs.questions

    return Command("search index", run, sound, ignored=INDEX_TIMES)


FIGURES = [f"figures/{name}.svg" for name in "abcd"]


def report(_: Inputs) -> Command:
    """Files as a report writes them, without what draws them (a nightly test draws)."""

    def run(place: Path) -> None:
        with staged_files(place / "report", "report.html") as staging:
            (staging / "report.html").write_text(" ".join(FIGURES))
            (staging / "figures").mkdir()
            for name in FIGURES:
                (staging / name).write_text(f"<svg>{name}</svg>" * 1000)

    def sound(place: Path) -> None:
        page = place / "report" / "report.html"
        for name in page.read_text().split() if page.exists() else ():
            assert (page.parent / name).read_text() == f"<svg>{name}</svg>" * 1000

    return Command("report", run, sound)


def evaluation(_: Inputs) -> Command:
    """A folder that takes the place of an earlier one."""

    def run(place: Path) -> None:
        for version in ("old", "new"):
            with staged_folder(place / "evaluations" / "mine") as staging:
                for name in ("sweep.yaml", "scores.csv"):
                    (staging / name).write_text(f"{version} {name}" * 1000)

    def sound(place: Path) -> None:
        folder = place / "evaluations" / "mine"
        versions = {path.read_text().split()[0] for path in folder.glob("*")}
        assert len(versions) <= 1
        assert not folder.exists() or len(list(folder.iterdir())) == 2

    return Command("evaluation", run, sound)


COMMANDS = (preparation, index, report, evaluation)
