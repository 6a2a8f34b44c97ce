"""The real trial, stopped after a step: a worker's view of a kill."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from harness.config import TrialConfig
from harness.runs.journal import Journal
from harness.training.train import run_trial

STOP_AFTER = "TEST_STOP_AFTER"


class Stopped(BaseException):
    """Nothing catches it but the worker."""


class _StoppingJournal:
    def __init__(self, journal: Journal, last: int) -> None:
        self._journal, self._last = journal, last

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._journal, name)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._journal.metrics(step, values)
        if step == self._last:
            raise Stopped


def stopping(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """As `run_trial`, until the step that the environment names was recorded, if it names one."""
    last = os.environ.get(STOP_AFTER)
    return run_trial(config, _StoppingJournal(journal, int(last)) if last else journal)
