"""Scaling efficiency over simulated nodes: `python -m tests.benchmarks.scaling`.

Two raylets of one CPU each on this machine stand for two nodes. The same trials (the embedded tier, shortened) run on
one of them, then on both; efficiency is the speed-up over two. A trial's own compute is real; network, disks and GPUs
are not here. What it can show: what starting trials, journals, MLflow and scheduling cost beside the trials. What it
cannot: contention for memory bandwidth apart from this machine's, or anything about gradients sent between machines.
`--workers` also times one trial on one process and on two (FSDP2 over gloo), where the episodes, the gradients and the
weights for the engines travel through loopback.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOAL = 0.8
SWEEP = """\
name: scaling
hypothesis: two nodes do twice the work
profile: tiny
fixed:
  {{steps: {steps}, eval_every: 1000, data: {{eval_suites: [world_single], eval_questions: 4, eval_samples: 0}}}}
seeds: {trials}
"""


def sweep_seconds(home: Path, address: str | None, trials: int, steps: int, *overrides: str) -> float:
    """Wall seconds from the first trial's start to the last one's end, by the journals' own clocks."""
    from rich.console import Console

    from harness.config import load_sweep
    from harness.driver.layout import attempts
    from harness.driver.run import Options, run_sweep
    from harness.journal import read_result

    home.mkdir(parents=True)
    file = home / "scaling.yaml"
    file.write_text(SWEEP.format(trials=trials, steps=steps))
    console = Console(file=io.StringIO(), width=200)
    status = run_sweep(
        load_sweep(file, overrides), Options(out=home / "runs", reports=home / "reports", address=address), console
    )
    if status != 0:
        raise SystemExit(console.file.getvalue())  # type: ignore[attr-defined]
    folders = list((home / "runs" / "scaling" / "trials").iterdir())
    ends = [result["ts"] for folder in folders if (result := read_result(folder))]
    return (max(ends) - min(attempts(folder)[0]["ts"] for folder in folders)) / 1000


def on_nodes(nodes: int, trials: int, steps: int, home: Path) -> float:
    """The sweep on a fresh cluster of single-CPU nodes; run in a process of its own."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(nodes - 1):
        cluster.add_node(**node)
    cluster.wait_for_nodes()
    try:
        return sweep_seconds(home, cluster.address, trials, steps)
    finally:
        cluster.shutdown()


def measured(*arguments: str) -> float:
    """Seconds that this file's other mode prints, in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--only", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1, help="pairs of runs; the best of each side counts")
    parser.add_argument("--workers", action="store_true", help="also one trial on one process and on two")
    parser.add_argument("--only", choices=["1", "2", "alone", "together"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = ["--trials", str(options.trials), "--steps", str(options.steps)]
    if options.only:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder) / "sweep"
            if options.only in "12":
                print(on_nodes(int(options.only), options.trials, options.steps, home))
            else:
                several = ["resources.workers=2"] if options.only == "together" else []
                print(sweep_seconds(home, None, 1, options.steps, *several))
        return
    begun = time.monotonic()
    one = min(measured("1", *sizes) for _ in range(options.repeats))
    two = min(measured("2", *sizes) for _ in range(options.repeats))
    load = os.getloadavg()[0]
    print(f"{options.trials} trials of {options.steps} steps: one node {one:.1f} s, two nodes {two:.1f} s")
    if options.workers:
        alone, together = measured("alone", *sizes), measured("together", *sizes)
        print(f"one trial: one process {alone:.1f} s, two {together:.1f} s (efficiency {alone / together / 2:.2f})")
    print(f"{len(os.sched_getaffinity(0))} CPUs, load {load:.1f}, {time.monotonic() - begun:.0f} s in all")
    print(f"scaling: {one / two / 2:.2f} of linear from one node to two (goal ≥ {GOAL})")


if __name__ == "__main__":
    main()
