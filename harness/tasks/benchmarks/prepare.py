"""Preparation of benchmarks and training mix: one layout, checked, every file in the manifest."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.tasks.benchmarks.catalog import (
    BENCHMARKS,
    CORPUS_FILE,
    CORPUS_REPOSITORY,
    QUESTIONS_REPOSITORY,
    TRAINING_FILE,
    TRAINING_REPOSITORY,
    TRAINING_SUITES,
    Benchmark,
)
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.files import is_data_file
from harness.tasks.benchmarks.hub import fetch, find_on_hub, sha256_of
from harness.tasks.benchmarks.leaks import Leak, find_leaks
from harness.tasks.benchmarks.load import file_split, is_corpus, iter_corpus, iter_question_rows, suite_of
from harness.tasks.benchmarks.manifest import (
    FileEntry,
    Manifest,
    Origin,
    is_verified,
    read_manifest,
    write_manifest,
    write_rows,
)
from harness.tasks.benchmarks.row_formats import Row
from harness.tasks.boundary import is_scalar_text

TRAINING_OUTPUT = "train.nq_hotpotqa.jsonl.gz"
CORPUS = "wikipedia"
"""Key of a corpus' passage count and licence in the manifest."""
CORPUS_LICENCE = "CC BY-SA 3.0"
Advance = Callable[[int, int | None], None]


class Reporter(Protocol):
    """Receiver of progress: lines of text, and the progress of one task at a time."""

    def line(self, text: str) -> None: ...

    def task(self, name: str) -> AbstractContextManager[Advance]: ...


class FileSource(Protocol):
    """Provider of local copies of files, each with its origin."""

    def benchmark(self, benchmark: Benchmark, reporter: Reporter) -> tuple[Path, Origin]: ...

    def training(self, reporter: Reporter) -> tuple[Path, Origin]: ...

    def corpus(self, reporter: Reporter) -> tuple[Path, Origin]: ...


@dataclass(frozen=True)
class HubSource:
    """The hub's data sets, or a mirror's at `endpoint`, downloaded into `downloads` at the same `revision` of each."""

    downloads: Path
    revision: str = "main"
    endpoint: str | None = None

    def _file(self, repository: str, name: str, reporter: Reporter) -> tuple[Path, Origin]:
        remote = find_on_hub(repository, name, self.revision, self.endpoint)
        target = self.downloads / repository.replace("/", "--") / remote.commit / name
        if target.exists():
            digest = sha256_of(target)  # complete: it got its name only after its checksum
        else:
            with reporter.task(f"download {name}") as advance:
                digest = fetch(remote, target, advance)
        return target, Origin(repository=repository, commit=remote.commit, file=name, sha256=digest)

    def benchmark(self, benchmark: Benchmark, reporter: Reporter) -> tuple[Path, Origin]:
        return self._file(QUESTIONS_REPOSITORY, benchmark.hub_file, reporter)

    def training(self, reporter: Reporter) -> tuple[Path, Origin]:
        return self._file(TRAINING_REPOSITORY, TRAINING_FILE, reporter)

    def corpus(self, reporter: Reporter) -> tuple[Path, Origin]:
        return self._file(CORPUS_REPOSITORY, CORPUS_FILE, reporter)


@dataclass(frozen=True)
class LocalSource:
    """A folder with files of any known layout: `nq/test.jsonl` (FlashRAG), `nq.test.jsonl.gz`, `train.parquet`."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise DataError(f"{self.folder}: no such folder; --from takes `hub` or a folder with the files")

    def _files(self) -> list[Path]:
        found = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and is_data_file(p)]
        strange = next((p for p in found if not is_scalar_text(str(p))), None)
        if strange is not None:
            raise DataError(f"{strange}: its name is not valid Unicode; rename it")
        return found

    def _origin(self, path: Path) -> tuple[Path, Origin]:
        try:
            digest = sha256_of(path)
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
        return path, Origin(file=path.relative_to(self.folder).as_posix(), sha256=digest)

    def benchmark(self, benchmark: Benchmark, reporter: Reporter) -> tuple[Path, Origin]:
        mine = [p for p in self._files() if suite_of(p) == benchmark.name and not is_corpus(p)]
        for wanted in ("test", "validation"):
            for path in mine:
                if file_split(path) == wanted:
                    return self._origin(path)
        shown = f"{benchmark.name}.test.jsonl.gz or {benchmark.hub_file}"
        raise DataError(f"{self.folder}: no test or dev file of {benchmark.name}; expected {shown}")

    def training(self, reporter: Reporter) -> tuple[Path, Origin]:
        for path in self._files():
            if path.name.startswith("train.") and suite_of(path) is None:
                return self._origin(path)
        raise DataError(f"{self.folder}: no training mix; expected {TRAINING_OUTPUT} or {TRAINING_FILE}")

    def corpus(self, reporter: Reporter) -> tuple[Path, Origin]:
        for path in self._files():
            if is_corpus(path):
                return self._origin(path)
        raise DataError(f"{self.folder}: no corpus; expected corpus.jsonl.gz or {CORPUS_FILE}")


def prepare(
    source: FileSource, out: Path, names: Sequence[str], *, training: bool, corpus: bool, reporter: Reporter
) -> Manifest:
    """Write the wanted files to `out`; verified files are kept. Returns the manifest.

    Training questions that are a test question too (by id, text or near copy) are dropped and counted.
    Raises DataError at the first file that cannot be used; a later call resumes after the files finished before it.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(out)
    for name in names:
        manifest = _benchmark(source, out, BENCHMARKS[name], manifest, reporter)
    if training:
        manifest = _training(source, out, manifest, reporter)
    if corpus:
        manifest = _corpus(source, out, manifest, reporter)
    return manifest


def _finish(
    out: Path,
    manifest: Manifest,
    name: str,
    rows: Sequence[Row],
    origin: Origin,
    dropped: dict[str, int] | None = None,
    inputs: dict[str, str] | None = None,
) -> Manifest:
    counts = dict(sorted(Counter(row.question.suite for row in rows).items()))
    write_rows(out / name, rows)
    entry = FileEntry(
        sha256=sha256_of(out / name),
        bytes=(out / name).stat().st_size,
        rows=counts,
        licences={suite: BENCHMARKS[suite].licence for suite in counts},
        origin=origin,
        dropped=dropped or {},
        inputs=inputs or {},
    )
    manifest = manifest.with_file(name, entry)
    write_manifest(out, manifest)
    return manifest


def _done(out: Path, manifest: Manifest, name: str, origin: Origin, inputs: dict[str, str]) -> bool:
    entry = manifest.files.get(name)
    same = entry is not None and entry.origin.sha256 == origin.sha256 and entry.inputs == inputs
    return same and entry is not None and is_verified(out, name, entry)


def _rows(path: Path, origin: Origin, benchmark: str | None, reporter: Reporter) -> list[Row]:
    source = f"{origin.repository}:{origin.file}" if origin.repository else origin.file
    rows = []
    with reporter.task(f"read {origin.file}") as advance:
        for row in iter_question_rows(path, benchmark):
            rows.append(row if row.source else replace(row, source=source))
            if len(rows) % 500 == 0:
                advance(len(rows), None)
    if not rows:
        raise DataError(f"{path}: holds no question; fetch it again")
    return rows


def _benchmark(source: FileSource, out: Path, benchmark: Benchmark, manifest: Manifest, reporter: Reporter) -> Manifest:
    name = f"{benchmark.name}.test.jsonl.gz"
    path, origin = source.benchmark(benchmark, reporter)
    if _done(out, manifest, name, origin, {}):
        reporter.line(f"{name}: verified, kept")
        return manifest
    rows = _rows(path, origin, benchmark.name, reporter)
    other = next((row for row in rows if row.question.suite != benchmark.name), None)
    if other is not None:
        raise DataError(f"{path}: row {other.question.id!r} is of {other.question.suite}, not of {benchmark.name}")
    manifest = _finish(out, manifest, name, rows, origin)
    reporter.line(f"{name}: {len(rows)} questions, {benchmark.licence}")
    return manifest


def _training(source: FileSource, out: Path, manifest: Manifest, reporter: Reporter) -> Manifest:
    inputs = {name: entry.sha256 for name, entry in manifest.files.items() if name.endswith(".test.jsonl.gz")}
    path, origin = source.training(reporter)
    if _done(out, manifest, TRAINING_OUTPUT, origin, inputs):
        reporter.line(f"{TRAINING_OUTPUT}: verified, kept")
        return manifest
    rows = [row for row in _rows(path, origin, None, reporter) if row.question.suite in TRAINING_SUITES]
    leaks = check_leaks(out, rows, sorted(inputs), reporter)
    leaked = {leak.train for leak in leaks}
    kept = [row for row in rows if row.question.id not in leaked]
    if not kept:
        raise DataError(f"{path}: every training question is a test question too; is it the right file?")
    dropped = dict(sorted(Counter(leak.kind for leak in leaks).items()))
    manifest = _finish(out, manifest, TRAINING_OUTPUT, kept, origin, dropped=dropped, inputs=inputs)
    reasons = ", ".join(f"{n} by {kind}" for kind, n in dropped.items()) or "none"
    reporter.line(f"{TRAINING_OUTPUT}: {len(kept)} questions; dropped as test questions: {reasons}")
    return manifest


def check_leaks(out: Path, rows: Sequence[Row], names: Sequence[str], reporter: Reporter) -> tuple[Leak, ...]:
    """Training rows that are in one of the prepared test files."""
    test = [row.question for name in names for row in iter_question_rows(out / name)]
    with reporter.task("compare with test questions") as advance:
        return find_leaks([row.question for row in rows], test, lambda done: advance(done, len(rows)))


def _corpus(source: FileSource, out: Path, manifest: Manifest, reporter: Reporter) -> Manifest:
    """The corpus file as it is (wiki-18 unpacks to 14 GB): read through once, then linked where the disk allows it,
    else copied."""
    path, origin = source.corpus(reporter)
    name = f"corpus{''.join(path.suffixes[-2:] if path.suffix == '.gz' else path.suffixes[-1:])}"
    known = manifest.files.get(name)
    if known is not None and known.rows and _done(out, manifest, name, origin, {}):
        reporter.line(f"{name}: verified, kept")
        return manifest
    passages = _count_passages(path, origin, reporter)
    draft = out / f"{name}.tmp"
    draft.unlink(missing_ok=True)
    try:
        os.link(path.resolve(), draft)
    except OSError:
        shutil.copyfile(path, draft)
    draft.replace(out / name)
    draft.unlink(missing_ok=True)  # a rename onto another link of the same file leaves both
    size = (out / name).stat().st_size
    entry = FileEntry(
        sha256=origin.sha256,
        bytes=size,
        rows={CORPUS: passages},
        licences={CORPUS: CORPUS_LICENCE},
        origin=origin,
    )
    manifest = manifest.with_file(name, entry)
    write_manifest(out, manifest)
    reporter.line(f"{name}: {passages} passages, {size / 1e6:.1f} MB of Wikipedia text, {CORPUS_LICENCE}")
    return manifest


def _count_passages(path: Path, origin: Origin, reporter: Reporter) -> int:
    """Reads every row: a checksum of a file that arrived cut or malformed would only vouch for the damage."""
    passages = 0
    with reporter.task(f"read {origin.file}") as advance:
        for passages, _ in enumerate(iter_corpus(path), 1):
            if passages % 10_000 == 0:
                advance(passages, None)
    if not passages:
        raise DataError(f"{path}: holds no passage; fetch it again")
    return passages
