"""A trial over several processes: Ray Train starts them as one group, torch.distributed connects them.

The first of them keeps the journal, as a trial of one process does. When one dies, Ray Train ends the others, and the
trial counts as failed once: it is started again like any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.sweep_file import Resources


def run_over_workers(folder: Path, function: str, resources: Resources, environment: Mapping[str, str]) -> None:
    """Run the trial of a folder on `resources.workers` processes. Raises what the trial raised."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    each: dict[str, float] = {"CPU": resources.cpus}
    if resources.gpus:
        each["GPU"] = resources.gpus
    scratch = folder / ".train"
    trainer = TorchTrainer(
        _work,
        train_loop_config={"folder": str(folder), "function": function},
        scaling_config=ScalingConfig(
            num_workers=resources.workers, use_gpu=resources.gpus > 0, resources_per_worker=each
        ),
        run_config=RunConfig(
            name="train",
            storage_path=str(scratch),
            failure_config=FailureConfig(max_failures=0),
            worker_runtime_env={"env_vars": dict(environment)},
        ),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _work(config: dict[str, Any]) -> None:
    import torch
    from ray.train.torch import get_device

    from harness.distributed.collective import ProcessGroup
    from harness.sweep.worker import run_one, run_share

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())  # the one that this process sees, see `worker_environment`
        torch.cuda.init()  # or the device mesh would set LOCAL_RANK's, which this process may not see
    workers = ProcessGroup()
    run = run_one if workers.rank == 0 else run_share
    run(Path(config["folder"]), config["function"], workers)
