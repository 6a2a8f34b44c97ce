"""Real training in a worker that is killed once, in the middle of an arm's own steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harness.config import TrialConfig
from harness.runs.journal import Journal
from harness.training import train


class _Killing:
    """The journal of a trial whose worker dies once, after a checkpoint of the arm's own steps was written."""

    def __init__(self, journal: Journal, start: int) -> None:
        self._journal, self._start = journal, start

    def __getattr__(self, name: str) -> object:
        return getattr(self._journal, name)

    def checkpoint(self, step: int, *args: object, **kwargs: object) -> None:
        self._journal.checkpoint(step, *args, **kwargs)
        mark = Path(self._journal.directory) / "killed"
        if step > self._start and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def killed_once_after_branch(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """`run_trial`, whose worker is killed once in the GSsPO arm of seed 0."""
    if config.seed == 0 and config.branch is not None and config.objective.preset == "gsspo":
        journal = _Killing(journal, config.start_step)  # type: ignore[assignment]
    return train.run_trial(config, journal)
