"""Questions and passages from files and folders, and the fixed subsets they are evaluated on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from harness.paths import command
from harness.tasks.benchmarks.catalog import benchmark_name, suite_name
from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.files import is_data_file, iter_rows
from harness.tasks.benchmarks.row_formats import Row, passage_of, question_row
from harness.types import Passage, Question

SPLIT_WORDS = {
    "train": "train", "train_extra": "train", "dev": "validation", "validation": "validation", "valid": "validation",
    "test": "test",
}  # fmt: skip
MAX_QUESTIONS = 1_000_000
"""In one file: they are held in memory."""
CORPUS_WORDS = ("corpus", "wiki-18", "wiki18")


def _words(path: Path) -> list[str]:
    """Candidate names of split and benchmark: the parts of a file name between dots, then the folder's name."""
    return [*path.name.lower().split("."), path.parent.name.lower()]


def file_split(path: Path) -> str | None:
    """The split that a file's name gives (`nq.test.jsonl.gz`, `nq/dev.jsonl`), or None."""
    return next((SPLIT_WORDS[word] for word in _words(path) if word in SPLIT_WORDS), None)


def suite_of(path: Path) -> str | None:
    """The benchmark that a file's name or folder gives, or None."""
    return next((name for word in _words(path) if (name := benchmark_name(word)) is not None), None)


def own_suite_of(path: Path) -> str | None:
    """The name of one's own that a file's path gives: `mine` of `mine.test.jsonl` and of `mine/test.jsonl`."""
    parts = path.name.split(".")
    at = next((i for i, part in enumerate(parts) if part.lower() in SPLIT_WORDS), 0)
    return suite_name(".".join(parts[:at])) if at else suite_name(path.absolute().parent.name)


def is_corpus(path: Path) -> bool:
    return is_data_file(path) and any(path.name.lower().startswith(word) for word in CORPUS_WORDS)


def question_files(folder: Path) -> list[Path]:
    """The question files of a folder and its subfolders, by name."""
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and is_data_file(p) and file_split(p) is not None]
    hidden = (any(part.startswith(".") for part in p.relative_to(folder).parts) for p in found)
    return [p for p, skip in zip(found, hidden, strict=True) if not skip and not is_corpus(p)]


def iter_question_rows(path: Path, benchmark: str | None = None) -> Iterator[Row]:
    """The rows of one file. Raises DataError at the first malformed one, and for an id that occurs twice."""
    named = benchmark or suite_of(path) or own_suite_of(path)
    seen: dict[str, str] = {}
    for where, raw in iter_rows(path):
        row = question_row(raw, where, named)
        if len(seen) > MAX_QUESTIONS:
            raise DataError(f"{where}: more than {MAX_QUESTIONS} questions in one file; split it")
        before = seen.setdefault(row.question.id, where)
        if before != where:
            raise DataError(f"{where}: id {row.question.id!r} is also that of {before}; ids have to be unique")
        yield row


def load_questions(paths: Path | str | Iterable[Path | str], benchmark: str | None = None) -> tuple[Question, ...]:
    """All questions of files (or of the question files of folders), in file order.

    `benchmark` overrides the paths, for layouts whose rows do not name theirs. `supporting` stays empty: see
    `DataFolder` for files with a corpus beside them. Raises DataError for a malformed file or one without questions.
    """
    listed = [paths] if isinstance(paths, Path | str) else list(paths)
    files = [f for p in map(Path, listed) for f in (question_files(p) if p.is_dir() else [p])]
    if not files:
        raise DataError(f"{', '.join(map(str, listed))}: no question files (such as nq.test.jsonl.gz or nq/test.jsonl)")
    questions = []
    for file in files:
        rows = [row.question for row in iter_question_rows(file, benchmark)]
        if not rows:
            raise DataError(f"{file}: holds no question; fetch it again or leave it out")
        questions += rows
    return tuple(questions)


def iter_corpus(path: Path | str) -> Iterator[Passage]:
    """The passages of a corpus file one at a time, in file order. Raises DataError at the first malformed row."""
    for where, row in iter_rows(Path(path)):
        yield passage_of(row, where)


def load_corpus(path: Path | str, limit: int | None = None) -> tuple[Passage, ...]:
    """All passages of a corpus file, or its first `limit`. Raises DataError for a malformed or an empty file."""
    passages = tuple(islice(iter_corpus(path), limit))
    if not passages and limit != 0:
        raise DataError(f"{path}: holds no passage; fetch it again")
    return passages


def subset(questions: Sequence[Question], n: int, seed: int = 0) -> tuple[Question, ...]:
    """The n questions whose seeded hash of the id is lowest: the same in every trial, whatever the order of the input.

    Nested: `subset(q, 10)` is the beginning of `subset(q, 20)`. All questions if there are fewer. Raises ValueError
    for a negative n.
    """
    if n < 0:
        raise ValueError(f"n is {n}: needs to be 0 or more")
    return tuple(sorted(questions, key=lambda q: (_rank(q.id, seed), q.id))[:n])


def _rank(key: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()


@dataclass(frozen=True)
class DataFolder:
    """A folder of question files `<benchmark>.<split>.jsonl.gz` or `<benchmark>/<split>.jsonl`, and maybe a corpus.

    Splits are named train, validation, test. Questions with annotated gold pages get the ids of the corpus' passages
    of those titles as `supporting`, where the corpus has every one of them.
    """

    path: Path
    ids_of: Callable[[Collection[str]], Mapping[str, tuple[str, ...]]] | None = None
    """Looks up the ids of the passages of titles, such as `PassageStore.ids_of`; None: the corpus is read through."""

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise DataError(
                f"{self.path}: no such folder; `{command('data', 'harness.data')} prepare --out {self.path}` makes one"
            )

    @cached_property
    def corpus_path(self) -> Path | None:
        """The corpus file, the first by name if there are several; None without one."""
        return next((p for p in sorted(self.path.iterdir()) if is_corpus(p)), None)

    @cached_property
    def _rows(self) -> dict[str, list[Row]]:
        files = question_files(self.path)
        if not files:
            raise DataError(f"{self.path}: no question files (such as nq.test.jsonl.gz or nq/test.jsonl)")
        rows: dict[str, list[Row]] = defaultdict(list)
        seen: dict[str, Path] = {}
        for file in files:
            for row in iter_question_rows(file):
                before = seen.setdefault(row.question.id, file)
                if before != file:
                    raise DataError(f"{file}: question {row.question.id!r} is in {before} too; leave one of them out")
                rows[file_split(file) or "test"].append(row)
        return rows

    @cached_property
    def _passage_ids(self) -> Mapping[str, tuple[str, ...]]:
        """Ids of the passages of every annotated title; titles the corpus lacks are absent."""
        wanted = {t for rows in self._rows.values() for row in rows for t in row.titles or ()}
        if self.ids_of is not None:
            return self.ids_of(wanted)
        found: dict[str, list[str]] = defaultdict(list)
        if self.corpus_path is not None and wanted:
            for passage in iter_corpus(self.corpus_path):
                if passage.title in wanted:
                    found[passage.title].append(passage.id)
        return {title: tuple(ids) for title, ids in found.items()}

    def supporting_titles(self) -> dict[str, str]:
        """The title of every passage that a question may have as `supporting`, by id."""
        return {key: title for title, ids in self._passage_ids.items() for key in ids}

    def _supported(self, row: Row) -> Question:
        if not row.titles or not all(title in self._passage_ids for title in row.titles):
            return row.question
        ids = (pid for title in row.titles for pid in self._passage_ids[title])
        return replace(row.question, supporting=tuple(dict.fromkeys(ids)))

    def holds(self, name: str, suite: str) -> bool:
        """Whether a split has questions of a benchmark."""
        return any(row.question.suite == suite for row in self._rows.get(name, ()))

    def split(self, name: str, suite: str | None = None) -> tuple[Question, ...]:
        """Questions of a split, of one benchmark if given. Raises DataError if there is none, naming what there is."""
        chosen = [r for r in self._rows.get(name, ()) if suite is None or r.question.suite == suite]
        if not chosen:
            have = sorted({f"{r.question.suite}/{split}" for split, rows in self._rows.items() for r in rows})
            wanted = f"{suite or 'any benchmark'}/{name}"
            raise DataError(f"{self.path}: no questions of {wanted}; there are {', '.join(have)}")
        return tuple(self._supported(row) for row in chosen)

    def corpus_file(self) -> Path:
        """Raises DataError without a corpus file."""
        if self.corpus_path is None:
            raise DataError(f"{self.path}: no corpus file (corpus.jsonl.gz or wiki-18.jsonl.gz); put one there")
        return self.corpus_path

    def corpus(self) -> Iterator[Passage]:
        """The passages, one at a time. Raises DataError without a corpus file."""
        return iter_corpus(self.corpus_file())
