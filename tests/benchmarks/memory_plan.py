"""The memory plan against the allocator's real peak: `python -m tests.benchmarks.memory_plan`.

Each case trains for real (a rollout, two updates of two micro-batches, a weight sync) on CPU under torch's memory
profiler; the peak is what tensors occupied. The process grows by more: the C library keeps pages that were freed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from harness.sweep.memory_plan.memory import components, peak
from tests.support.real_memory import SIZES, workload

GOAL = 0.12
MODES: list[dict[str, Any]] = [
    {},
    {"checkpointing": True},
    {"autocast": True, "reference": True},
    {"autocast": True, "checkpointing": True},
    {"dtype_bytes": 2, "autocast": True, "checkpointing": True},
    {"lora_rank": 8},
    {"lora_rank": 8, "dtype_bytes": 2, "autocast": True, "checkpointing": True},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    cases = [(size, mode) for size in parser.parse_args().sizes for mode in MODES]
    command = [sys.executable, "-m", "tests.support.real_memory", json.dumps(cases)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    worst = 0.0
    print(f"{'model':6} {'planned':>9} {'measured':>9} {'error':>7}  settings")
    for (size, mode), measured in zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True):
        planned, phase = peak(components(workload(size, **mode)))
        error = planned / measured - 1
        worst = max(worst, abs(error))
        settings = ", ".join(f"{k}={v}" for k, v in mode.items()) or "float32, all weights"
        print(
            f"{size:6} {planned / 1e6:6.1f} MB {measured / 1e6:6.1f} MB {error:+7.1%}  {settings} (peak: {phase.value})"
        )
    print(f"memory_plan: {worst:.1%} largest error of the peak (goal ≤ {GOAL:.0%})")


if __name__ == "__main__":
    main()
