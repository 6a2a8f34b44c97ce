"""One step of a trial, timed in a process of its own: what a dry run's estimate goes by.

The process trains one step, evaluates before and after it and keeps a checkpoint, as a worker would, with its threads
and its journal, in a temporary folder. A step of the untrained policy is among the longest, so the estimate is on the
high side. Of a policy that takes minutes a step, a part of the step and of the evaluation is timed (`timed_part`), and
what all trials share is made beforehand: it is kept, so the sweep itself need not make it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.config import TrialConfig
from harness.config.sweep_file import Resources, Tracking
from harness.operators.operator_settings import Bm25Settings, LocalBackend, SimulatedBackend
from harness.runs.episode_store import episode_files
from harness.runs.journal import CHECKPOINTS, EPISODES, Journal, policy_path, read_metrics
from harness.runs.trace_sampling import AGAIN_AFTER, Sampler
from harness.sweep.cluster import worker_environment
from harness.tracking.traces import sample

LONGEST_S = 3600.0
"""A language model's warm start alone takes a quarter of an hour on a slow core."""
SHARED_S = 60.0
"""A set-up longer than this has probably made what others only read: it is timed again."""
FEW_QUESTIONS = 3
METRIC_BYTES, TRACE_BYTES = 285, 19_500
"""Of MLflow's SQLite file, indices included (measured: 18,628 metrics, 998 traces)."""
SYSTEM_METRICS_A_SECOND = 0.5
"""Five every ten seconds, see `driver/usage.py`."""


class ProbeError(Exception):
    """Why no step could be timed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one trial: seconds of its set-up, of an evaluation, of a training step; bytes each leaves on disk.

    `made_s`: what all trials share took, once, before these were timed. `…_values`: metrics that each records;
    `troubles`: episodes of the step and its evaluation that MLflow shows because something went wrong in them;
    `checkpoints_held`: the most there are at a time.
    """

    setup_s: float
    eval_s: float
    step_s: float
    eval_bytes: int
    step_bytes: int
    policy_bytes: int
    checkpoint_s: float = 0.0
    checkpoint_bytes: int = 0
    checkpoints_held: int = 0
    eval_values: int = 0
    step_values: int = 0
    troubles: int = 0
    made_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of all trials together: bytes in their folders at the end; of checkpoints beside them, at most, while trials run;
    that MLflow keeps again, as artifacts; of MLflow's database."""

    seconds: float
    bytes: int
    checkpoints: int
    copied: int
    database: int


def timed_part(config: TrialConfig) -> TrialConfig:
    """What of a trial is timed: step and evaluation of the embedded policy, of a larger one's their first episodes."""
    if config.policy.kind == "tiny":
        return config
    data = replace(config.data, eval_questions=min(config.data.eval_questions, FEW_QUESTIONS))
    fewest = config.update.updates_per_batch  # prompts: an update needs one
    size = config.rollout.model_copy(update={"prompts_per_step": fewest})
    return config.model_copy(update={"data": data, "rollout": size})


def probe(config: TrialConfig, function: str, resources: Resources, patience_s: float = LONGEST_S) -> Timing:
    """Time a step of the trial. Raises ProbeError where that cannot be done, or would cost money."""
    e = config.environment
    if not isinstance(e.backend, SimulatedBackend | LocalBackend) or not isinstance(e.search.retriever, Bm25Settings):
        raise ProbeError("its step would call a service")
    if resources.workers > 1:
        raise ProbeError("it takes several processes")
    first = _timed(config, function, resources, patience_s)
    if first.setup_s <= SHARED_S:
        return first
    again = _timed(config, function, resources, patience_s)
    return replace(again, made_s=max(0.0, first.setup_s - again.setup_s))


def _timed(config: TrialConfig, function: str, resources: Resources, patience_s: float) -> Timing:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "harness.sweep.step_timing", function, scratch],
                input=config.model_dump_json(),
                env={**os.environ, **worker_environment(resources)},
                capture_output=True,
                text=True,
                timeout=patience_s,
            )
        except subprocess.TimeoutExpired:
            raise ProbeError(f"its first step took more than {patience_s:.0f} s") from None
    result = done.stdout.strip().rpartition("\n")[2]
    # native libraries may abort a process as Python ends, on a busy machine above all: what it had said stands
    if done.returncode not in (0, -signal.SIGABRT) or not result.startswith("{"):
        lines = done.stderr.strip().splitlines()
        raise ProbeError(lines[-1].strip() if lines else f"the process ended with status {done.returncode}")
    return Timing(**json.loads(result))


def estimate(
    timing: Timing, timed: TrialConfig, todo: Sequence[TrialConfig], parallel: int, tracking: Tracking | None = None
) -> Estimate:
    """Of the trials `todo` with `parallel` at a time, each by its numbers of steps, episodes and evaluations."""
    shown = tracking or Tracking()
    seconds, held = [], []
    size = copied = values = traces = 0
    for config in todo:
        steps = config.steps * trained(config) / trained(timed)
        evaluations = evaluation_count(config) * evaluated(config) / evaluated(timed)
        checkpoints = (config.steps - 1) // config.checkpoint_every if config.checkpoint_every else 0
        seconds.append(
            timing.setup_s + steps * timing.step_s + evaluations * timing.eval_s + checkpoints * timing.checkpoint_s
        )
        held.append(min(checkpoints, timing.checkpoints_held) * timing.checkpoint_bytes)  # none when it has finished
        episodes = round(steps * timing.step_bytes + evaluations * timing.eval_bytes)
        kept = {"none": 0, "final": 1, "every": evaluation_count(config)}[config.save.when]
        size += episodes + kept * timing.policy_bytes
        copied += episodes + (timing.policy_bytes if kept and shown.register_policies else 0)
        values += config.steps * timing.step_values + evaluation_count(config) * timing.eval_values
        values += round(seconds[-1] * SYSTEM_METRICS_A_SECOND)
        if shown.traces_per_step:
            traces += (config.steps + 1) * shown.traces_per_step + (config.steps // AGAIN_AFTER + 1) * timing.troubles
    return Estimate(
        seconds=max([sum(seconds) / parallel, *seconds]),
        bytes=size,
        checkpoints=sum(sorted(held)[-parallel:]),
        copied=copied,
        database=values * METRIC_BYTES + traces * TRACE_BYTES,
    )


def evaluation_count(config: TrialConfig) -> int:
    """Evaluations of a trial, the one before its first step among them."""
    return len({*range(0, config.steps + 1, config.eval_every), config.steps})


def evaluated(config: TrialConfig) -> int:
    """Episodes of one evaluation, further ones under faults and perturbations included."""
    faults = config.environment.faults
    further = len(config.environment.perturbations.eval) + (faults is not None and faults.eval_rate > 0)
    return len(config.data.eval_suites) * config.data.eval_questions * (1 + config.data.eval_samples + further)


def trained(config: TrialConfig) -> int:
    """Episodes of one training step."""
    return config.rollout.prompts_per_step * config.rollout.group_size


class _Enough(Exception):
    """The step has been played, and what it leaves is on disk."""


class _FirstCheckpoint:
    """Keeps a trial's first checkpoint, timed, and ends the trial there: none is kept at a trial's last step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.seconds = 0.0

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None:
        from harness.runs.checkpoint import write_checkpoint  # torch: here alone, where the trial has it already

        begun = time.perf_counter()
        write_checkpoint(self._folder, "probe", step, lines, state)
        self.seconds = time.perf_counter() - begun
        raise _Enough

    def resume(self) -> None:
        return None


def _play(config: TrialConfig, function: str, folder: Path) -> Timing:
    """Run a trial in `folder` as far as its first step; what it took."""
    from harness.runs.checkpoint import KEPT
    from harness.sweep.worker import load_function

    checkpoint = _FirstCheckpoint(folder)
    steps, every = (2, 1) if config.checkpoint_every else (1, 0)
    save = config.save.model_copy(update={"when": "none" if config.save.when == "none" else "every"})
    short = config.model_copy(update={"steps": steps, "eval_every": 1, "checkpoint_every": every, "save": save})
    run = load_function(function)
    begun = time.perf_counter()
    with Journal(folder, checkpoints=checkpoint) as journal, contextlib.suppress(_Enough):
        run(short, journal)
    whole = time.perf_counter() - begun
    told: list[Mapping[str, float]] = [values for _, values, _ in read_metrics(folder)]
    evaluations = [values.get("time/eval_s", 0.0) for values in told]
    first, steps_s = told[min(1, len(told) - 1)], [values.get("time/step_s", 0.0) for values in told]
    troubled = sample(episode_files(folder / EPISODES, 1), 1, Sampler(0))
    return Timing(
        setup_s=max(0.0, whole - sum(steps_s) - sum(evaluations) - checkpoint.seconds),
        eval_s=first.get("time/eval_s", 0.0),
        step_s=first.get("time/step_s", 0.0),
        eval_bytes=_size(folder / EPISODES, "step-000001-eval*"),
        step_bytes=_size(folder / EPISODES, "step-000001-train*") + _size(folder, "metrics.jsonl") // len(told),
        policy_bytes=_size(policy_path(folder, 1), "**/*"),
        checkpoint_s=checkpoint.seconds,
        checkpoint_bytes=_size(folder / CHECKPOINTS, "*"),
        checkpoints_held=KEPT + 1,  # the next is written before the oldest goes
        eval_values=len(told[0]),
        step_values=max(0, len(first) - len(told[0])),
        troubles=len(troubled),
    )


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


if __name__ == "__main__":
    trial = TrialConfig.model_validate_json(sys.stdin.read())
    print(json.dumps(asdict(_play(trial, sys.argv[1], Path(sys.argv[2])))))
