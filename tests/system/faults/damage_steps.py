"""The cheap trial, broken off in the middle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.config import TrialConfig
from harness.runs.journal import Journal
from tests.system.faults.cheap_steps import random_walk
from tests.system.faults.damage import STOP


class Broken(BaseException):
    """Nothing but the worker catches it."""


class _Breaking:
    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._journal, name)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._journal.metrics(step, values)
        if step == STOP:
            raise Broken


def breaks_off(config: TrialConfig, journal: Journal) -> dict[str, float]:
    return random_walk(config, _Breaking(journal))  # type: ignore[arg-type]
