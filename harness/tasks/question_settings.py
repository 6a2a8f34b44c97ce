"""Settings of the questions that a trial trains on and is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.types import Count, Names, NaturalNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Source and selection of questions."""

    source: Literal["world", "files"]
    """world: the offline world of countries and cities; files: benchmark files in `path`."""
    path: str | None
    train_suites: Names
    train_questions: Count | None = None
    """Of all training suites together, always the same ones; null: all there are."""
    eval_suites: Names
    eval_questions: Count
    """Questions per suite, always the same ones."""
    eval_split: Literal["test", "validation"]
    eval_samples: NaturalNumber
    """Sampled answers per question beside the greedy one; 0: greedy only."""
    eval_at_once: Count = 64
    """Batch size of an evaluation, in episodes: bounds the built-in engine's memory; vLLM wants many."""

    def __post_init__(self) -> None:
        if self.source == "files" and self.path is None:
            raise ValueError("data.path is required when data.source is files")
