"""Settings of the questions that a trial trains on and is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.paths import command
from harness.types import Constraint, Count, SuiteNames


@dataclass(frozen=True, slots=True)
class CurriculumStage:
    """So many steps, after those of the stages before it, on questions of some training suites only."""

    steps: Count
    suites: SuiteNames


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Source and selection of questions."""

    source: Literal["world", "files", "task"]
    """world: the offline world of countries and cities; files: benchmark files in `path`; task: one's own, `task`."""
    path: str | None
    task: str | None = None
    """A Python file or module with questions and scoring, see `harness/tasks/own_task.py`."""
    train_suites: SuiteNames
    curriculum: tuple[CurriculumStage, ...] = ()
    """What training begins with; afterwards it takes all of `train_suites`."""
    train_questions: Count | None = None
    """Of all training suites together, always the same ones; null: all there are."""
    eval_suites: SuiteNames
    eval_questions: Count
    """Questions per suite, always the same ones."""
    final_questions: Count | None = None
    """Questions per suite at the last step; null: as many as before it."""
    eval_split: Literal["test", "validation"]
    eval_samples: Annotated[int, Constraint(ge=0, le=1000)]
    """Sampled answers per question beside the greedy one; 0: greedy only."""
    eval_at_once: Count = 64
    """Batch size of an evaluation, in episodes: bounds the built-in engine's memory; vLLM wants many."""

    def __post_init__(self) -> None:
        if self.source == "files" and self.path is None:
            made = f"{command('data', 'harness.data')} prepare --out FOLDER"
            raise ValueError(
                f"data.path is required when data.source is files; give data.path=FOLDER (to make one: {made})"
            )
        if self.source == "world" and self.path is not None:
            raise ValueError("data.path is of data.source files, not of world")
        if (self.source == "task") != (self.task is not None):
            raise ValueError("data.source: task and data.task: FILE.py go together")
        if unknown := {s for stage in self.curriculum for s in stage.suites} - set(self.train_suites):
            raise ValueError(f"data.curriculum names {', '.join(sorted(unknown))}, not among data.train_suites")
