"""Two workers that Ray Train starts on two GPUs which Ray believes in.

`python -m tests.system.distributed.gpu_each FOLDER` runs the trial of a folder, whose function only notes what each
worker sees.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from harness.config import TrialConfig
from harness.config.sweep_file import Resources
from harness.distributed.collective import Collective
from harness.runs.run import TrialRun

HERE = "tests.system.distributed.gpu_each"
NOTED = "GPUS"
"""Environment variable: folder of the notes."""


def look(config: TrialConfig, sink: Any, workers: Collective) -> dict[str, float]:
    from ray.train.torch import get_device

    seen = os.environ["CUDA_VISIBLE_DEVICES"]
    Path(os.environ[NOTED], str(workers.rank)).write_text(f"{seen} {get_device()}")
    return {"eval/em": 0.0}


def main(folder: Path) -> None:
    import ray
    from ray.train import torch as train

    from harness.sweep.cluster import worker_environment
    from harness.sweep.multi_worker import run_over_workers
    from harness.sweep.tune import start_ray

    resources = Resources(workers=2, cpus_per_worker=1, gpus_per_worker=1.0)
    gloo = partial(train.TorchTrainer, torch_config=train.TorchConfig(backend="gloo"))  # there is nothing for NCCL
    with patch.object(ray, "init", partial(ray.init, num_gpus=2)):
        start_ray(resources)
    try:
        with patch.object(train, "TorchTrainer", gloo):
            run_over_workers(TrialRun(folder), f"{HERE}:look", resources, worker_environment(resources))
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
