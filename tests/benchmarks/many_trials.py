"""A thousand trivial trials through the real driver: `python -m tests.benchmarks.many_trials [--trials N]`.

Ray Tune, the journals, the screen and MLflow (SQLite, without traces) as in any sweep; a trial writes three lines of
metrics and two small episode files. Printed: wall time, the driver's CPU time, how that grew from the earlier trials to
the later (1 where each costs the same), the driver's peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SWEEP = """\
name: many
hypothesis: a sweep of many trials is as cheap a trial as one of few
profile: tiny
fixed: {{steps: 2, eval_every: 2, data: {{eval_suites: [world_single], eval_questions: 2}}}}
parameters:
  objective.preset: {{values: [gsspo, grpo]}}
seeds: {seeds}
tracking: {{traces_per_step: 0}}
analysis:
  primary: {{metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}}
  margin: 0.03
  alpha: 0.05
"""
MEASURED = "measured.json"


class Growth(threading.Thread):
    """Watches how many trials have ended, and when; samples a second."""

    def __init__(self, trials: Path) -> None:
        super().__init__(daemon=True)
        self._trials, self.samples = trials, [(0, 0.0, 0.0)]
        self.over = threading.Event()

    def run(self) -> None:
        begun = time.perf_counter()
        while not self.over.wait(1.0):
            ended = sum(entry.is_dir() and os.path.exists(f"{entry.path}/result.json") for entry in self._entries())
            self.samples.append((ended, time.perf_counter() - begun, time.process_time()))

    def _entries(self) -> list[os.DirEntry[str]]:
        return list(os.scandir(self._trials)) if self._trials.is_dir() else []

    def seconds(self, share: float, total: int) -> tuple[float, float]:
        """Wall and CPU time when that share of the trials had ended."""
        return next(((wall, cpu) for ended, wall, cpu in self.samples if ended >= share * total), self.samples[-1][1:])


def drive(out: Path, trials: int) -> int:
    """The driver's process."""
    from rich.console import Console

    from harness.config import load_sweep
    from harness.sweep.options import Options
    from harness.sweep.run import run_sweep

    file = out / "many.yaml"
    file.write_text(SWEEP.format(seeds=-(-trials // 2)))
    spec = load_sweep(file)
    growth = Growth(out / "runs" / "many" / "trials")
    growth.start()
    begun = time.perf_counter()
    status = run_sweep(
        spec,
        Options(out=out / "runs", limit=trials, trial="tests.support.cheap_trials:learns"),
        Console(file=(out / "printed.txt").open("w")),
    )
    growth.over.set()
    measured: dict[str, Any] = {"wall": time.perf_counter() - begun, "cpu": time.process_time()}
    for name, share in (("tenth", 0.1), ("half", 0.55), ("all", 1.0)):
        measured[name] = growth.seconds(share, trials)
    measured["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (out / MEASURED).write_text(json.dumps(measured))
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of a sweep of many trivial trials.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="folder for the sweep (default: a temporary one)")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        sys.exit(drive(options.drive, options.trials))
    print(f"load before: {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = (options.keep or Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.benchmarks.many_trials", "--drive", str(out)]
        done = subprocess.run([*command, "--trials", str(options.trials)])
        if done.returncode:
            sys.exit((out / "printed.txt").read_text()[-2000:])
        found = json.loads((out / MEASURED).read_text())
        runs = count_runs(out / "runs" / "mlflow.db")
    (early_wall, early), (middle_wall, middle), (late_wall, late) = found["tenth"], found["half"], found["all"]
    growth = (late - middle) / max(1e-9, middle - early)
    print(f"a trial: {found['wall'] / options.trials:.2f} s of wall time, {found['cpu'] / options.trials:.3f} s of the"
          f" driver's CPU; after the last trial {found['wall'] - late_wall:.0f} s")  # fmt: skip
    first = f"{middle - early:.1f} s in {middle_wall - early_wall:.0f} s"
    last = f"{late - middle:.1f} s in {late_wall - middle_wall:.0f} s"
    print(f"the driver's CPU, from a tenth of the trials to 55 %: {first}; from there: {last}")
    print(f"{runs} runs in MLflow")
    print(f"many_trials: {options.trials} trials in {found['wall']:.0f} s, driver {found['cpu']:.0f} s of CPU,"
          f" later / earlier {growth:.2f}, peak memory {found['memory']:.0f} MB")  # fmt: skip


def count_runs(database: Path) -> int:
    from harness.tracking.client import connect, search_runs

    client = connect(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("many").experiment_id
    return len(search_runs(client, experiment, "tags.trial_key LIKE '%'"))


if __name__ == "__main__":
    main()
