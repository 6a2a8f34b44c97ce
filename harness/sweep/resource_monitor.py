"""CPU and memory of a trial's process, measured by a background thread into `system.jsonl` in the trial's folder.

Names are MLflow's own where it has one, so that its pages show them as system metrics.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psutil

from harness.runs.run import TrialRun

PERIOD_S = 10.0
"""As often as MLflow itself measures."""


@contextlib.contextmanager
def measured(trial: TrialRun, period_s: float = PERIOD_S) -> Iterator[None]:
    """Measure this process every `period_s` seconds, and once more at the end, while the block runs."""
    process = psutil.Process()
    process.cpu_percent()  # the first call only starts the clock, as does the next
    psutil.cpu_percent()
    over = threading.Event()

    def run() -> None:
        with contextlib.suppress(OSError), trial.system_log() as log:  # a full disk stops the trial, not this thread
            last = False
            while not last:
                last = over.wait(period_s)
                log.append({"values": usage(process)})
                log.sync()

    thread = threading.Thread(target=run, name="usage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def usage(process: psutil.Process) -> dict[str, float]:
    """CPU since the last call in percent (the process: of one core; the machine: of all); memory in MB and percent."""
    memory = psutil.virtual_memory()
    return {
        "system/process_cpu_percentage": process.cpu_percent(),
        "system/process_memory_megabytes": process.memory_info().rss / 1e6,
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / 1e6,
        "system/system_memory_usage_percentage": memory.percent,
    }
