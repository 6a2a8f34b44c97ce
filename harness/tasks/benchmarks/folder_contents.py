"""What a data folder holds, from file names and first rows: enough to refuse a setting before anything is loaded."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from harness.tasks.benchmarks.errors import DataError
from harness.tasks.benchmarks.files import iter_rows
from harness.tasks.benchmarks.load import file_split, is_corpus, own_suite_of, question_files, suite_of


@dataclass(frozen=True, slots=True)
class FolderContents:
    """`questions`: (split, suite) of the files that hold one suite. `mixed`: splits of files whose rows name their
    suites, which only a reading of the whole file would tell."""

    questions: frozenset[tuple[str, str]]
    mixed: frozenset[str]
    has_corpus: bool

    def may_hold(self, split: str, suite: str) -> bool:
        """False only where no file can have such questions."""
        return split in self.mixed or (split, suite) in self.questions

    def listed(self, split: str) -> list[str]:
        """Suites that the split is known to hold, sorted."""
        return sorted(suite for found, suite in self.questions if found == split)


def folder_contents(folder: Path) -> FolderContents:
    """Contents of an existing folder. A file that cannot be read counts as mixed: its error comes when it is loaded."""
    questions: set[tuple[str, str]] = set()
    mixed: set[str] = set()
    for file in question_files(folder):
        state = file.stat()
        suite = _suite(file, state.st_size, state.st_mtime_ns)
        split = file_split(file) or "test"
        if suite is None:
            mixed.add(split)
        else:
            questions.add((split, suite))
    return FolderContents(frozenset(questions), frozenset(mixed), any(map(is_corpus, folder.iterdir())))


@functools.lru_cache(4096)
def _suite(file: Path, size: int, mtime_ns: int) -> str | None:
    """The suite of a file's questions; None where its rows may be of several. `size`, `mtime_ns`: of this reading."""
    try:
        _, first = next(iter(iter_rows(file)))
    except (DataError, OSError, StopIteration):
        return None
    named = suite_of(file)
    if "reward_model" in first or first.get("benchmark", named) != named:
        return None
    return named or own_suite_of(file)
