"""The real trial over several workers, one of which is killed once.

`python -m tests.system.distributed.killed_trials RANK SIZE MEETING FOLDER=FUNCTION …` is one worker of the trials of
these folders, one after the other, as Ray Train would start it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.distributed.collective import Collective
from harness.runs.run import TrialRun
from harness.sweep.worker import run_one, run_share
from harness.training.train import run_trial
from tests.support.membership import membership

HERE = "tests.system.distributed.killed_trials"


class _Killing:
    """A sink that kills its process when the results of a step have been recorded."""

    def __init__(self, sink: Any, last: int) -> None:
        self._sink, self._last = sink, last

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._sink, name)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._sink.metrics(step, values)
        if step == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def second_dies(config: TrialConfig, sink: Any, workers: Collective) -> dict[str, float]:
    """As `run_trial`; the second worker dies after step 2."""
    return run_trial(config, _Killing(sink, 2) if workers.rank == 1 else sink, workers)


def main(rank: int, size: int, meeting: str, trials: list[str]) -> None:
    """`trials`: FOLDER=FUNCTION."""
    with membership(rank, size, Path(meeting)) as workers:
        for folder, _, function in (trial.partition("=") for trial in trials):
            (run_one if rank == 0 else run_share)(TrialRun(Path(folder)), function, workers)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
