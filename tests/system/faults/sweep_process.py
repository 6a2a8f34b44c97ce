"""A sweep's driver as a process of its own, to be killed: `python -m tests.system.faults.sweep_process HOME CODE`.

Environment: FAULTS_SETTINGS, overrides of the sweep (a JSON list); FAULTS_SLOTS, as how many CPUs the machine counts;
FAULTS_WRITER, the SQL statement of the MLflow writer before which the process kills itself.

The writer is a thread of the driver, so whatever kills it kills the driver.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.config import load_sweep
from harness.sweep import cluster, run, tune

NAME = "faults"
SWEEP = f"""\
name: {NAME}
hypothesis: none
profile: tiny
fixed: {{steps: 40, eval_every: 20, checkpoint_every: 5, data.eval_suites: [world_single]}}
parameters: {{}}
seeds: 4
"""


def main(home: Path, code: str) -> int:
    run.code_version = lambda: code  # so that editing a file while this runs does not disturb it
    slots = int(os.environ.get("FAULTS_SLOTS", "0"))
    if slots:
        cluster.cpus_here = tune.cpus_here = lambda: slots
    statement = int(os.environ.get("FAULTS_WRITER", "0"))
    if statement:
        _strike_writer(statement)
    file = home / f"{NAME}.yaml"
    file.write_text(SWEEP)
    options = run.Options(out=home / "runs", trial="tests.system.faults.cheap_steps:random_walk")
    spec = load_sweep(file, json.loads(os.environ.get("FAULTS_SETTINGS", "[]")))
    return run.run_sweep(spec, options, Console(width=200))


def _strike_writer(wanted: int) -> None:
    """Kill this process before the `wanted`th SQL statement that the writer's thread makes."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    made = 0

    def before(*_: Any) -> None:
        nonlocal made
        if threading.current_thread().name == "mlflow-writer":
            made += 1
            if made == wanted:
                os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", before)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
