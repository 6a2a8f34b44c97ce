"""A trial over several worker processes: Ray Train starts them as one group, torch.distributed connects them.

Rank 0 writes the journal, as a trial of one process does. When one worker dies, Ray Train ends the others; this counts
as one failure of the trial, which is then restarted like any other.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.sweep_file import Resources
from harness.runs.journal import Journal
from harness.runs.jsonl import now_ms
from harness.runs.run import TrialRun


def run_over_workers(trial: TrialRun, function: str, resources: Resources, environment: Mapping[str, str]) -> None:
    """Run a trial on `resources.workers` processes. Raises the trial's error, unless another attempt would fail alike:
    then it is recorded."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchTrainer

    from harness.sweep.attempts import TrialRefused

    each: dict[str, float] = {"CPU": resources.cpus}
    if resources.gpus:
        each["GPU"] = resources.gpus
    scratch = trial.folder / ".train"
    trainer = TorchTrainer(
        _work,
        train_loop_config={"folder": str(trial.folder), "function": function},
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
    start = now_ms()
    try:
        trainer.fit()
    except WorkerGroupError as error:
        refusals = [(n, e) for n, e in sorted(error.worker_failures.items()) if isinstance(e, TrialRefused)]
        if not refusals:
            raise
        rank, refusal = refusals[0]
        record_refusal(trial, f"{refusal} (worker {rank} of {resources.workers})", start)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def record_refusal(trial: TrialRun, why: str, since_ms: int) -> None:
    """Record a trial as failed, unless rank 0 has since `since_ms`: a worker above it keeps no journal."""
    from harness.sweep.worker import LOCK_WAIT_S

    with trial.lock(LOCK_WAIT_S):
        if (trial.result() or {"ts": 0})["ts"] < since_ms:
            with Journal(trial.folder) as journal:
                journal.fail(trial.info().key, why)


def _work(config: dict[str, Any]) -> None:
    import torch
    from ray.train.torch import get_device

    from harness.distributed.collective import ProcessGroup
    from harness.sweep.worker import run_one, run_share

    if torch.cuda.is_available():
        torch.cuda.set_device(get_device())  # the only one this process sees, see `worker_environment`
        torch.cuda.init()  # or the device mesh would set LOCAL_RANK's, which this process may not see
    workers = ProcessGroup()
    run = run_one if workers.rank == 0 else run_share
    run(TrialRun(Path(config["folder"])), config["function"], workers)
