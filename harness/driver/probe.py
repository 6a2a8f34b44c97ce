"""One step of a trial, timed in a process of its own: what a dry run's estimate goes by.

The process trains one step and evaluates before and after it, as a worker would, with its threads and its journal, in a
temporary folder. A step of the untrained policy is among the longest, so the estimate is on the high side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.config import TrialConfig
from harness.config.model import Bm25, LocalBackend, SimulatedBackend
from harness.config.sweepfile import Resources
from harness.driver.cluster import worker_environment
from harness.journal import EPISODES, POLICIES, Journal, read_metrics

LONGEST_S = 600.0


class ProbeError(Exception):
    """Why no step could be timed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one trial: seconds of its set-up, of an evaluation, of a training step; bytes each leaves on disk."""

    setup_s: float
    eval_s: float
    step_s: float
    eval_bytes: int
    step_bytes: int
    policy_bytes: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of all trials together. `copied`: bytes that MLflow keeps again, as artifacts."""

    seconds: float
    bytes: int
    copied: int


def probe(config: TrialConfig, function: str, resources: Resources, patience_s: float = LONGEST_S) -> Timing:
    """Time a step of the trial. Raises ProbeError where that cannot be done, or would cost money."""
    e = config.environment
    if not isinstance(e.backend, SimulatedBackend | LocalBackend) or not isinstance(e.search.retriever, Bm25):
        raise ProbeError("its step would call a service")
    if resources.workers > 1:
        raise ProbeError("it takes several processes")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "harness.driver.probe", function, scratch],
                input=config.model_dump_json(),
                env={**os.environ, **worker_environment(resources)},
                capture_output=True,
                text=True,
                timeout=patience_s,
            )
        except subprocess.TimeoutExpired:
            raise ProbeError(f"its first step took more than {patience_s:.0f} s") from None
    lines = [line for line in (done.stdout if done.returncode == 0 else done.stderr).splitlines() if line.strip()]
    if done.returncode != 0:
        raise ProbeError(lines[-1].strip() if lines else f"the process ended with status {done.returncode}")
    return Timing(**json.loads(lines[-1]))


def estimate(timing: Timing, timed: TrialConfig, todo: Sequence[TrialConfig], parallel: int) -> Estimate:
    """Of the trials `todo` with `parallel` at a time, each by its numbers of steps, episodes and evaluations."""
    seconds, size, copied = [], 0, 0
    for config in todo:
        steps = config.steps * _trained(config) / _trained(timed)
        evaluations = evaluation_count(config) * evaluated(config) / evaluated(timed)
        seconds.append(timing.setup_s + steps * timing.step_s + evaluations * timing.eval_s)
        episodes = round(steps * timing.step_bytes + evaluations * timing.eval_bytes)
        kept = {"none": 0, "final": 1, "every": evaluation_count(config) - 1}[config.save.when]
        size += episodes + kept * timing.policy_bytes
        copied += episodes
    return Estimate(max([sum(seconds) / parallel, *seconds]), size, copied)


def evaluation_count(config: TrialConfig) -> int:
    """Evaluations of a trial, the one before its first step among them."""
    return len({*range(0, config.steps + 1, config.eval_every), config.steps})


def evaluated(config: TrialConfig) -> int:
    """Episodes of one evaluation, further ones under faults and perturbations included."""
    faults = config.environment.faults
    further = len(config.environment.perturbations.eval) + (faults is not None and faults.eval_rate > 0)
    return len(config.data.eval_suites) * config.data.eval_questions * (1 + config.data.eval_samples + further)


def _trained(config: TrialConfig) -> int:
    return config.rollout.prompts_per_step * config.rollout.group_size


def _play(config: TrialConfig, function: str, folder: Path) -> Timing:
    """Run a trial of one step in `folder`; what it took."""
    from harness.driver.worker import load_function

    short = config.model_copy(update={"steps": 1, "eval_every": 1, "checkpoint_every": 0})
    run = load_function(function)
    begun = time.perf_counter()
    with Journal(folder) as journal:
        run(short, journal)
    whole = time.perf_counter() - begun
    told: list[Mapping[str, float]] = [values for _, values, _ in read_metrics(folder)]
    evaluations = [values.get("time/eval_s", 0.0) for values in told]
    step = told[-1].get("time/step_s", 0.0)
    return Timing(
        setup_s=max(0.0, whole - step - sum(evaluations)),
        eval_s=evaluations[-1],
        step_s=step,
        eval_bytes=_size(folder / EPISODES, "step-000001-eval*"),
        step_bytes=_size(folder / EPISODES, "step-000001-train*") + _size(folder, "metrics.jsonl") // len(told),
        policy_bytes=_size(folder / POLICIES, "**/*"),
    )


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


if __name__ == "__main__":
    trial = TrialConfig.model_validate_json(sys.stdin.read())
    print(json.dumps(asdict(_play(trial, sys.argv[1], Path(sys.argv[2])))))
