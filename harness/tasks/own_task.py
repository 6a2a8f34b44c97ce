"""A task of one's own: one Python file (or module) with its questions, and its scoring where exact match will not do.

| function of the file | meaning |
|---|---|
| `questions(split)` | questions of "train", "validation" or "test", each with its `suite` |
| `is_right(answer, question)` | optional: whether an answer is right; without it, by exact match |
| `passages()` | optional: the passages that Search finds; without it, those of the offline world |

`examples/arithmetic.py` is one. A trial's identity holds the file's SHA-256.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

from harness.tasks.benchmarks.errors import DataError
from harness.types import Passage, Question
from harness.types.own_code import error_line, own_module

SPLITS = ("train", "validation", "test")
IsRight = Callable[[str, Question], bool]


@dataclass(frozen=True)
class OwnTask:
    """The task that `name` is the file or module of. Raises OwnCodeError where it cannot be imported.

    What its functions raise or return wrongly is a DataError that names the function, and the line where it has one.
    """

    name: str

    @cached_property
    def _module(self) -> ModuleType:
        return own_module(self.name)

    @cached_property
    def _questions(self) -> dict[str, tuple[Question, ...]]:
        if not callable(getattr(self._module, "questions", None)):
            raise DataError(f"{self.name} has no function questions(split)")
        found = {split: self._listed("questions", Question, split) for split in SPLITS}
        seen: set[str] = set()
        for question in (q for listed in found.values() for q in listed):
            if question.id in seen:
                raise DataError(f"{self.name}: questions: the id {question.id!r} is given twice")
            seen.add(question.id)
        return found

    @property
    def is_right(self) -> IsRight | None:
        """The task's scoring; None where answers are scored by exact match."""
        own = getattr(self._module, "is_right", None)
        if own is None:
            return None

        def is_right(answer: str, question: Question) -> bool:
            verdict = self._called("is_right", lambda: own(answer, question))
            if not isinstance(verdict, bool):
                raise DataError(
                    f"{self.name}: is_right: returned {verdict!r:.60} for {question.id!r}, not True or False"
                )
            return verdict

        return is_right

    def passages(self) -> tuple[Passage, ...] | None:
        """The task's passages; None where it has none of its own."""
        return self._listed("passages", Passage) if hasattr(self._module, "passages") else None

    def suites(self, split: str) -> tuple[str, ...]:
        """The suites that have questions in a split, in order."""
        return tuple(dict.fromkeys(q.suite for q in self._questions.get(split, ())))

    def holds(self, name: str, suite: str) -> bool:
        """Whether a split has questions of a suite."""
        return suite in self.suites(name)

    def split(self, name: str, suite: str) -> tuple[Question, ...]:
        """Questions of a split and suite. Raises DataError if there is none, naming what there is."""
        if not self.holds(name, suite):
            have = ", ".join(f"{s}/{split}" for split in SPLITS for s in self.suites(split)) or "none at all"
            raise DataError(f"{self.name}: no questions of {suite}/{name}; there are {have}")
        return tuple(q for q in self._questions[name] if q.suite == suite)

    def _listed(self, function: str, kind: type[Any], *arguments: str) -> tuple[Any, ...]:
        def read() -> tuple[Any, ...]:
            made: Iterable[Any] = getattr(self._module, function)(*arguments)
            return tuple(made)

        listed = self._called(function, read)
        for entry in listed:
            if not isinstance(entry, kind):
                raise DataError(f"{self.name}: {function}: returned {entry!r:.60}, not a {kind.__name__}")
        return listed

    def _called(self, function: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:
            raise DataError(f"{self.name}{error_line(error, self._module)}: {function}: {error!r:.200}") from error
