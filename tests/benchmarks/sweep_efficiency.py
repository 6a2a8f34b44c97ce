"""How much of the machine a sweep gives to its trials.

    python -m tests.benchmarks.sweep_efficiency [--steps N] [--seeds N] [--file ablations/NAME.yaml]

The default sweep, or another, runs through the real driver, from the start of its process to its end: Ray, MLflow,
report and all.

    efficiency = Σ over trials of the CPU time inside `run_trial` / (slots × wall time of the driver's process)

CPU time of a trial is that of its threads while `run_trial` runs, without the sink (the journal is tracking). What is
missing from 1 is shown by where it went; the parts add up, as slots × wall is divided among them:

    start      until the first trial begins: Python, configuration, Ray, the first worker with its imports
    gaps       a slot without a trial while trials wait: other workers' start, Ray between trials
    tail       a slot without a trial because none is left: of an odd number of trials on 2 slots the last is alone
    end        from the last trial's end to the driver's: MLflow's last lines, summary, figures
    journal    the sink: metrics, episode files, checkpoints
    processor  a trial that could run and was not given a processor: MLflow's writer, Ray, other people's work
    waiting    a trial that waited for something else, such as the disk

Work of others on the machine shows as `processor`, so both CPU and wall time are of the same run, and the load before
it is printed. To be quoted, the figure is of a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GOAL = 0.92
SWEEP = "ablations/granularity.yaml"
TIMING = "timing.json"
MARKS = "marks.json"


class TimedSink:
    """A trial's sink; `seconds` and `cpu` of all its calls."""

    def __init__(self, sink: Any) -> None:
        self._sink, self.seconds, self.cpu = sink, 0.0, 0.0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._sink, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - wall
                self.cpu += time.thread_time() - cpu

        return timed


def waited_for_a_processor() -> float:
    """Seconds that this thread could run and did not, since it began."""
    return int(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat").read_text().split()[1]) / 1e9


def timed_trial(config: Any, journal: Any) -> dict[str, float]:
    """`run_trial`, with what it took left in the trial's folder. Runs in Ray's workers."""
    from harness.training.train import run_trial

    sink = TimedSink(journal)
    clock = time.thread_time if config.threads == 1 else time.process_time
    begun, cpu, kept_waiting = time.time(), clock(), waited_for_a_processor()
    final = run_trial(config, sink)
    spent = {
        "begun": begun,
        "ended": time.time(),
        "cpu": clock() - cpu - sink.cpu,
        "journal": sink.seconds,
        "processor": waited_for_a_processor() - kept_waiting,
        "pid": os.getpid(),
    }
    Path(journal.directory, TIMING).write_text(json.dumps(spent))
    return final


def drive(file: str, out: Path, overrides: list[str]) -> int:
    """The driver's process: as `python -m harness.sweep`, with marks of when what was done."""
    marks = {"python": time.time()}
    from rich.console import Console

    from harness.config import load_sweep

    spec = load_sweep(file, overrides)
    marks["configuration"] = time.time()
    from harness.sweep import tune
    from harness.sweep.options import Options
    from harness.sweep.run import run_sweep

    marks["imports"] = time.time()
    start_ray = tune.start_ray

    def marked(*arguments: Any) -> bool:
        marks["ray begins"] = time.time()
        own = start_ray(*arguments)
        marks["ray"] = time.time()
        return own

    tune.start_ray = marked
    status = run_sweep(
        spec,
        Options(out=out / "runs", trial="tests.benchmarks.sweep_efficiency:timed_trial"),
        Console(),
    )
    marks["swept"] = time.time()
    threads = resource.getrusage(resource.RUSAGE_SELF)
    Path(out, MARKS).write_text(json.dumps({**marks, "cpu": threads.ru_utime + threads.ru_stime}))
    return status


def idle(trials: list[Mapping[str, float]], slots: int, begun: float, ended: float) -> dict[str, float]:
    """Slot-seconds without a trial, by why."""
    edges = sorted({begun, ended, *(t["begun"] for t in trials), *(t["ended"] for t in trials)})
    first, last = min(t["begun"] for t in trials), max(t["ended"] for t in trials)
    last_start = max(t["begun"] for t in trials)
    parts = {"start": 0.0, "gaps": 0.0, "tail": 0.0, "end": 0.0}
    for a, b in itertools.pairwise(edges):
        free = slots - sum(t["begun"] <= a and t["ended"] >= b for t in trials)
        name = "start" if b <= first else "end" if a >= last else "gaps" if b <= last_start else "tail"
        parts[name] += free * (b - a)
    return parts


def report(out: Path, begun: float, ended: float, slots: int) -> float:
    """Print where slots × wall went; the efficiency."""
    trials = [json.loads(p.read_text()) for p in out.glob(f"runs/*/trials/*/{TIMING}")]
    marks = json.loads((out / MARKS).read_text())
    total = slots * (ended - begun)
    compute = sum(t["cpu"] for t in trials)
    parts = {"trials": compute, **idle(trials, slots, begun, ended)}
    parts |= {name: sum(t[name] for t in trials) for name in ("journal", "processor")}
    parts["waiting"] = total - sum(parts.values())
    print(f"\n{len(trials)} trials by {len({t['pid'] for t in trials})} processes in {slots} slots,"
          f" {ended - begun:.1f} s; {total:.1f} slot-seconds:")  # fmt: skip
    for name, seconds in parts.items():
        print(f"  {name:<10}{seconds:9.1f} s{seconds / total:8.1%}")
    first = min(t["begun"] for t in trials)
    steps = {
        "Python": marks["python"] - begun,
        "configuration": marks["configuration"] - marks["python"],
        "the driver's imports": marks["imports"] - marks["configuration"],
        "until Ray is asked for": marks["ray begins"] - marks["imports"],
        "Ray": marks["ray"] - marks["ray begins"],
        "first worker and its imports": first - marks["ray"],
        "end: MLflow, summary, figures": marks["swept"] - max(t["ended"] for t in trials),
        "leaving Python": ended - marks["swept"],
    }
    print("wall time of start and end: " + ", ".join(f"{name} {s:.1f} s" for name, s in steps.items()))
    walls = sorted(t["ended"] - t["begun"] for t in trials)
    print(f"a trial: {walls[0]:.1f} to {walls[-1]:.1f} s; the driver's own process: {marks['cpu']:.1f} s of CPU")
    most = (len(trials) / slots) / -(-len(trials) // slots)
    print(f"trials of equal length in {slots} slots could reach {most:.3f} at most")
    return compute / total


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of the slots that a sweep's trials compute in.")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--file", default=SWEEP, help="sweep file (default: %(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the sweep (default: a temporary one)")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    overrides = [f"{name}={getattr(options, name)}" for name in ("steps", "seeds") if getattr(options, name)]
    if options.drive:
        sys.exit(drive(options.file, options.drive, overrides))
    slots = len(os.sched_getaffinity(0))
    print(f"load before: {os.getloadavg()[0]:.2f} on {slots} processors", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.keep or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        again = [f"--{name}={getattr(options, name)}" for name in ("file", "steps", "seeds") if getattr(options, name)]
        command = [sys.executable, "-m", "tests.benchmarks.sweep_efficiency", "--drive", str(out), *again]
        begun = time.time()
        subprocess.run(command, check=True)
        efficiency = report(out, begun, time.time(), slots)
    other = [] if options.file == SWEEP else [options.file]
    what = f" with {' '.join([*other, *overrides])}" if other or overrides else ""
    print(f"sweep_efficiency: {efficiency:.3f} (goal ≥ {GOAL}){what}")


if __name__ == "__main__":
    main()
