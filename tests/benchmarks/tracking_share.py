"""What tracking costs: `python -m tests.benchmarks.tracking_share [--steps N]`.

A trial of the default sweep runs as in a sweep, in a process of its own that has imported what Tune's workers have
when they get a trial; this process does nothing but what the driver does for MLflow (SQLite): follow the journal, feed
metrics, system metrics, episodes as traces, artifacts, figures.

    share = (CPU of journal and usage thread in the trial + CPU of this process) / CPU of the trial without both

CPU time of every thread counts, on both sides. What happens once a sweep (importing MLflow, making the database, the
parent run, whatever is slower the first time, the sweep's end) is measured apart, with a whole trial of two steps in
it, and divided by the trials of the default sweep. matplotlib is imported for the sweep's report in any case.
Checkpoints and the kept policy are the trial's own and no tracking; their cost is printed beside.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.config import code_version, expand, load_sweep
from harness.runs.journal import Journal
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.mlflow_writer import MlflowWriter
from harness.tracking import Tracker, default_uri
from reports.trial_view import write_trial_views

GOAL = 0.01
SWEEP = "ablations/granularity.yaml"
SPENT = "spent.json"
WRITER = {"_trace_new": "traces", "_log_new": "metrics", "_close": "end (figures, page, files)"}
JOURNAL, OWN = ("metrics", "event", "episodes", "finish"), ("policy", "checkpoint")
EXPERIMENT = "share"


class Accounts:
    """CPU seconds of calls by name, of the thread that makes them."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    def watch(self, place: Any, name: str) -> None:
        call = getattr(place, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                self.spent[name] += time.thread_time() - begun

        setattr(place, name, timed)


def play(folder: Path) -> None:
    """What a worker does with the trial of a folder, with accounts kept. Runs in a process of its own."""
    import ray.tune  # noqa: F401  and pandas with it, which pyarrow would import for its first array

    import harness.training.train  # noqa: F401
    from harness.sweep import resource_monitor, worker

    accounts = Accounts()

    class Thread(threading.Thread):
        def run(self) -> None:
            super().run()
            accounts.spent["usage"] = time.thread_time()

    class Watched(Journal):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            for name in (*JOURNAL, *OWN):
                accounts.watch(self, name)

    resource_monitor.threading = SimpleNamespace(Event=threading.Event, Thread=Thread)  # type: ignore[assignment]
    worker.Journal = Watched  # type: ignore[misc]
    begun = time.process_time()
    worker.run_one(TrialRun(folder), "harness.training.train:run_trial")
    (folder / SPENT).write_text(json.dumps({**accounts.spent, "process": time.process_time() - begun}))


def started(trial: Path) -> Any:
    child = multiprocessing.get_context("spawn").Process(target=play, args=(trial,), name=trial.name)
    child.start()
    return child


def ended(child: Any) -> None:
    child.join()
    if child.exitcode:
        sys.exit(f"the trial {child.name} failed")


def written(writer: MlflowWriter, trials: int) -> None:
    """Wait until MLflow has so many trials whole."""
    while len(writer._complete) < trials:
        if writer.error:
            sys.exit(f"MLflow could not be written: {writer.error}")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of journal and MLflow as a share of a default trial's.")
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    overrides = [f"steps={options.steps}"] if options.steps else []
    spec, short = load_sweep(SWEEP, overrides), load_sweep(SWEEP, ["steps=2"])
    code = code_version()
    trials, first = expand(spec, code), expand(short, code)[1]
    print(f"load before: {os.getloadavg()[0]:.2f}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = SweepFolder(Path(temporary) / "runs" / spec.name)
        folder.write_manifest(spec)
        folder.trial(first).prepare(first, code, short.labels, short.preregistration)
        uri = default_uri(folder.root.parent)
        writer = Accounts()
        for name in WRITER:
            writer.watch(Tracker, name)
        begun = time.process_time()
        writer = MlflowWriter(folder, uri, EXPERIMENT, write_trial_views)
        writer.start()
        ended(started(folder.trial(first).folder))
        written(writer, 1)
        once, shown = time.process_time() - begun, count_traces(uri)
        trial = folder.trial(trials[0]).folder
        TrialRun(trial).prepare(trials[0], code, spec.labels, spec.preregistration)
        child = started(trial)
        writer.spent.clear()
        begun = time.process_time()
        ended(child)
        live = time.process_time() - begun
        written(writer, 2)
        fed = time.process_time() - begun
        written_by_then = time.process_time()
        if error := writer.close("KILLED", []):
            sys.exit(f"MLflow could not be written: {error}")
        once += time.process_time() - written_by_then
        spent = json.loads((trial / SPENT).read_text())
        traces = count_traces(uri) - shown
    inside = {name: spent[name] for name in (*JOURNAL, "usage") if name in spent}
    compute = spent["process"] - sum(inside.values())
    parts = {
        "in the trial": sum(inside.values()),
        "MLflow while it ran": live,
        "MLflow at its end": fed - live,
        "once a sweep, its share": once / len(trials),
    }
    print(f"trial {trials[0].name}: {compute:.1f} s of CPU; once a sweep {once:.2f} s; {traces} traces")
    print("in the trial: " + ", ".join(f"{name} {s:.3f} s" for name, s in inside.items()))
    print("MLflow: " + ", ".join(f"{WRITER[name]} {s:.3f} s" for name, s in writer.spent.items()))
    print("no tracking, so in the trial's own time: " + ", ".join(f"{n} {spent.get(n, 0.0):.3f} s" for n in OWN))
    for name, seconds in parts.items():
        print(f"  {name:<24}{seconds:8.3f} s{seconds / compute:9.2%}")
    what = f" with {' '.join(overrides)}" if overrides else ""
    print(f"tracking_share: {sum(parts.values()) / compute:.4f} (goal ≤ {GOAL}){what}")


def count_traces(uri: str) -> int:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
    return len(client.search_traces(locations=[experiment], max_results=500, include_spans=False))


if __name__ == "__main__":
    main()
