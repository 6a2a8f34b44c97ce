"""Scaling efficiency over simulated nodes: `python -m tests.benchmarks.scaling` (three minutes on a quiet machine).

Raylets of one CPU, each bound to a core of its own with everything it starts, stand for nodes; the driver runs on the
first node's core, as on a cluster's head. The same trials (the embedded tier, shortened) run on one node, then divided
among n. Efficiency is T(1) / (n T(n)), T the time that the slowest node takes for its share once it is warm: every
worker's first trial, which pays for imports, is not counted. Starting Ray and these first trials are printed as
components of their own, as is what the cores themselves can do: the same arithmetic on one core and on all at once (two
hardware threads of one core give less than twice one).

What it shows: what scheduling, journals, MLflow and starting trials cost beside the trials. What it cannot: a network,
shared disks, GPUs. `--workers` also times one trial on one process and on two (FSDP2 over gloo), by its steps, where
episodes, gradients and the weights for the engines travel through loopback.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config import TrialConfig

GOAL = 0.8
TRIAL = "tests.benchmarks.scaling:on_its_node"
NODE = "node.json"
SWEEP = """\
name: scaling
hypothesis: two nodes do twice the work
profile: tiny
fixed:
  {{steps: {steps}, eval_every: 1000, checkpoint_every: 0, save.when: none,
   data: {{eval_suites: [world_single], eval_questions: 4, eval_samples: 0}}}}
seeds: {seeds}
"""


@dataclass(frozen=True)
class Share:
    """What one node did, in seconds: `warm_up` its first trial, `window` the rest, of which `inside` in trials."""

    cores: list[int]
    trials: int
    warm_up: float
    window: float
    inside: float


@dataclass(frozen=True)
class Run:
    """One sweep: `cluster` to start Ray, `begin` from the sweep's start to its first trial, `end` from the last one's
    end to the sweep's (report, MLflow)."""

    cluster: float
    begin: float
    end: float
    whole: float
    shares: list[Share]

    @property
    def slowest(self) -> float:
        return max(s.window for s in self.shares)


def on_its_node(config: TrialConfig, journal: Any) -> dict[str, float]:
    """A trial that notes where it ran."""
    import ray

    where = {"node": ray.get_runtime_context().get_node_id(), "cores": sorted(os.sched_getaffinity(0))}
    (journal.directory / NODE).write_text(json.dumps(where))
    from harness.training.train import run_trial

    return run_trial(config, journal)


def run_sweep_of(home: Path, seeds: list[int], steps: int, *overrides: str, trial: str, address: str | None) -> Path:
    """Run it; the folder of its trials."""
    from rich.console import Console

    from harness.config import load_sweep
    from harness.sweep.options import Options
    from harness.sweep.run import run_sweep

    home.mkdir(parents=True)
    file = home / "scaling.yaml"
    file.write_text(SWEEP.format(seeds=seeds, steps=steps))
    console = Console(file=io.StringIO(), width=200)
    where = Options(out=home / "runs", address=address, trial=trial)
    if run_sweep(load_sweep(file, overrides), where, console) != 0:
        raise SystemExit(console.file.getvalue())  # type: ignore[attr-defined]
    return home / "runs" / "scaling" / "trials"


def on_nodes(nodes: int, steps: int, total: int, home: Path) -> Run:
    """A warm-up trial a node and then `total` trials, on a fresh cluster."""
    from ray.cluster_utils import Cluster

    cores = sorted(os.sched_getaffinity(0))
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    begun = time.time()
    # what a process starts inherits its cores
    os.sched_setaffinity(0, cores[:1])
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for core in cores[1:nodes]:
        os.sched_setaffinity(0, [core])
        cluster.add_node(**node)
    os.sched_setaffinity(0, cores[:1])
    cluster.wait_for_nodes()
    up = time.time()
    seeds = [*range(nodes), *range(1000, 1000 + total)]  # the same ones are measured whatever the number of nodes
    try:
        trials = run_sweep_of(home, seeds, steps, trial=TRIAL, address=cluster.address)
    finally:
        cluster.shutdown()
    return observed(trials, up - begun, up, nodes)


def observed(trials: Path, cluster: float, up: float, nodes: int) -> Run:
    """By the journals' own clocks."""
    from harness.runs.run import TrialRun

    ended = time.time()
    by_node: dict[str, list[tuple[float, float]]] = {}
    cores: dict[str, list[int]] = {}
    for folder in trials.iterdir():
        result, where = TrialRun(folder).result(), json.loads((folder / NODE).read_text())
        assert result is not None
        by_node.setdefault(where["node"], []).append((TrialRun(folder).attempts()[0]["ts"] / 1000, result["ts"] / 1000))
        cores[where["node"]] = where["cores"]
    if len(by_node) != nodes or len({tuple(c) for c in cores.values()}) != nodes:
        raise SystemExit(f"trials ran on {len(by_node)} nodes with cores {list(cores.values())}, not on {nodes}")
    shares = []
    for node, spans in sorted(by_node.items(), key=lambda item: cores[item[0]]):
        first, *rest = sorted(spans)
        window = max(e for _, e in rest) - first[1] if rest else 0.0
        shares.append(Share(cores[node], len(rest), first[1] - first[0], window, sum(e - b for b, e in rest)))
    starts, ends = zip(*(span for spans in by_node.values() for span in spans), strict=True)
    return Run(cluster, min(starts) - up, ended - max(ends), max(ends) - up, shares)


def step_seconds(home: Path, steps: int, workers: int) -> float:
    """Mean seconds of a training step of one trial, by its journal."""
    from harness.runs.run import TrialRun
    from harness.sweep.worker import TRIAL as real

    several = [f"resources.workers={workers}"] if workers > 1 else []
    (folder,) = run_sweep_of(home, [0], steps, *several, trial=real, address=None).iterdir()
    times = [values["time/step_s"] for step, values, _ in TrialRun(folder).metrics() if step > 0]
    return sum(times) / len(times)


def arithmetic(core: int, seconds: float = 4.0) -> float:
    """How often a core does a trial's kind of arithmetic in a second: small matrix products, out of its own cache."""
    import torch

    os.sched_setaffinity(0, [core])
    torch.set_num_threads(1)
    a, b = torch.randn(256, 512), torch.randn(512, 2048)
    for _ in range(50):
        a @ b
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        a @ b
        done += 1
    return done / (time.perf_counter() - begun)


def ceiling(cores: list[int]) -> float:
    """Speed of a core while all of them work, as a share of its speed while the others rest (the worst of them)."""
    alone = [json.loads(part("arithmetic", str(core)).communicate()[0]) for core in cores]
    at_once = [part("arithmetic", str(core)) for core in cores]
    return min(json.loads(p.communicate()[0]) / speed for p, speed in zip(at_once, alone, strict=True))


def part(*arguments: str) -> subprocess.Popen[str]:
    """Another mode of this file, in a process of its own; it prints JSON on its last line."""
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--only", *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def measured(*arguments: str) -> Any:
    process = part(*arguments)
    printed, _ = process.communicate()
    if process.returncode != 0:
        raise SystemExit(process.returncode)
    return json.loads(printed.splitlines()[-1])


def report(name: str, run: Run) -> None:
    print(f"{name}: Ray up after {run.cluster:.1f} s, first trial {run.begin:.1f} s later, last one's end after"
          f" {run.whole:.1f} s, {run.end:.1f} s more for reports and MLflow")  # fmt: skip
    for s in run.shares:
        print(f"  core {s.cores}: first trial with its imports {s.warm_up:.1f} s; then {s.trials} trials in "
              f"{s.window:.1f} s, {s.window - s.inside:.1f} s of it between trials")  # fmt: skip


def only(mode: list[str], options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "sweep"
        match mode:
            case ["arithmetic", core]:
                print(json.dumps(arithmetic(int(core))))
            case ["workers", n]:
                print(json.dumps(step_seconds(home, options.steps, int(n))))
            case ["nodes", n]:
                total = options.nodes * options.trials
                print(json.dumps(asdict(on_nodes(int(n), options.steps, total, home))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--trials", type=int, default=2, help="of each node, beside its first")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--workers", action="store_true", help="also one trial on one process and on two")
    parser.add_argument("--only", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        only(options.only, options)
        return
    cores = sorted(os.sched_getaffinity(0))[: options.nodes]
    if len(cores) < options.nodes:
        raise SystemExit(f"{options.nodes} nodes need as many cores, and there are {len(cores)}")
    begun, load = time.monotonic(), os.getloadavg()[0]
    sizes = ["--nodes", str(options.nodes), "--trials", str(options.trials), "--steps", str(options.steps)]
    possible = ceiling(cores)
    runs = []
    for n in (1, options.nodes):
        found = measured("nodes", str(n), *sizes)
        runs.append(Run(**found | {"shares": [Share(**s) for s in found["shares"]]}))
        report(f"{n} node{'s' if n > 1 else ''}", runs[-1])
    one, many = runs
    if len({s.trials for s in many.shares}) > 1:
        print("the nodes did not get equally many trials: the slowest counts")
    if options.workers:
        alone, together = measured("workers", "1", *sizes), measured("workers", "2", *sizes)
        print(f"one trial, a step: one process {alone:.2f} s, two {together:.2f} s "
              f"(efficiency {alone / together / 2:.2f})")  # fmt: skip
    efficiency = one.slowest / (many.slowest * options.nodes)
    print(f"{os.cpu_count()} CPUs, load {load:.1f} before, {time.monotonic() - begun:.0f} s in all")
    print(f"the cores themselves: {possible:.2f} of linear for arithmetic alone")
    print(f"scaling: {efficiency:.2f} of linear from one node to {options.nodes} (goal ≥ {GOAL})")


if __name__ == "__main__":
    main()
