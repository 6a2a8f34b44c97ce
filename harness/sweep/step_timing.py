"""Timing of one training step in a process of its own, from which a dry run estimates the cost of a sweep.

The process trains one step, evaluates before and after it and writes a checkpoint, as a worker would, with its threads
and its journal, in a temporary folder. A step of the untrained policy is among the longest, so the estimate is on the
high side. Of a policy that takes minutes a step, a part of the step and of the evaluation is timed (`timed_part`), and
what all trials share is made beforehand and kept, so that the sweep itself need not make it.
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
from harness.runs.journal import Journal
from harness.runs.layout import CHECKPOINTS, METRICS
from harness.runs.run import TrialRun
from harness.runs.trace_sampling import REPEAT_STEPS, TraceSampler
from harness.sweep.cluster import worker_environment
from harness.tracking.traces import sample_rows

LONGEST_S = 3600.0
"""Timeout: a language model's warm start alone takes a quarter of an hour on a slow core."""
SHARED_S = 60.0
"""A set-up longer than this has probably filled a cache that later trials read: it is timed again."""
FEW_QUESTIONS = 3
METRIC_BYTES, TRACE_BYTES = 285, 19_500
"""Of MLflow's SQLite file, indices included (measured: 18,628 metrics, 998 traces)."""
SYSTEM_METRICS_A_SECOND = 0.5
"""Five every ten seconds, see `harness.sweep.resource_monitor`."""


class ProbeError(Exception):
    """No step can be timed."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one trial: seconds of its set-up, an evaluation and a training step; bytes that each leaves on disk.

    `made_s`: seconds for what all trials share, made once before these were timed. `…_values`: metrics that each
    records; `failed_episodes`: episodes of the step and its evaluation that become traces because of a failure;
    `checkpoints_held`: the most that exist at a time.
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
    failed_episodes: int = 0
    made_s: float = 0.0


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """Of all trials: seconds; bytes of their folders at the end (`bytes`), of checkpoints at most while they run, of
    artifact copies in MLflow (`copied`) and of its database."""

    seconds: float
    bytes: int
    checkpoints: int
    copied: int
    database: int


def timed_part(config: TrialConfig) -> TrialConfig:
    """The trial that is timed: from the start policy; of policies other than the embedded one, with fewer episodes a
    step and evaluation."""
    config = config.model_copy(update={"branch": None})
    if config.policy.kind == "tiny":
        return config
    data = replace(config.data, eval_questions=min(config.data.eval_questions, FEW_QUESTIONS))
    fewest = config.update.updates_per_batch  # prompts: an update needs one
    size = config.rollout.model_copy(update={"prompts_per_step": fewest})
    return config.model_copy(update={"data": data, "rollout": size})


def probe(config: TrialConfig, function: str, resources: Resources, timeout_s: float = LONGEST_S) -> Timing:
    """Time a step of the trial. Raises ProbeError where this is not possible, or would call a paid service."""
    e = config.environment
    if not isinstance(e.backend, SimulatedBackend | LocalBackend) or not isinstance(e.search.retriever, Bm25Settings):
        raise ProbeError("its step would call a service")
    if resources.workers > 1:
        raise ProbeError("it takes several processes")
    first = _timed(config, function, resources, timeout_s)
    if first.setup_s <= SHARED_S:
        return first
    again = _timed(config, function, resources, timeout_s)
    return replace(again, made_s=max(0.0, first.setup_s - again.setup_s))


def _timed(config: TrialConfig, function: str, resources: Resources, timeout_s: float) -> Timing:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "harness.sweep.step_timing", function, scratch],
                input=config.model_dump_json(),
                env={**os.environ, **worker_environment(resources)},
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            raise ProbeError(f"its first step took more than {timeout_s:.0f} s") from None
    result = done.stdout.strip().rpartition("\n")[2]
    # native libraries may abort a process while Python ends, mostly on a busy machine; its output is complete by then
    if done.returncode not in (0, -signal.SIGABRT) or not result.startswith("{"):
        lines = done.stderr.strip().splitlines()
        raise ProbeError(lines[-1].strip() if lines else f"the process ended with status {done.returncode}")
    return Timing(**json.loads(result))


def estimate_cost(
    timing: Timing, timed: TrialConfig, todo: Sequence[TrialConfig], parallel: int, tracking: Tracking | None = None
) -> CostEstimate:
    """Cost of the trials `todo`, `parallel` at a time, each by its numbers of steps, episodes and evaluations."""
    shown = tracking or Tracking()
    seconds, held = [], []
    size = copied = values = traces = 0
    for config in todo:
        steps = config.trained_steps * training_episodes(config) / training_episodes(timed)
        evaluations = evaluation_count(config) * evaluation_episodes(config) / evaluation_episodes(timed)
        checkpoints = (config.trained_steps - 1) // config.checkpoint_every if config.checkpoint_every else 0
        seconds.append(
            timing.setup_s + steps * timing.step_s + evaluations * timing.eval_s + checkpoints * timing.checkpoint_s
        )
        held.append(min(checkpoints, timing.checkpoints_held) * timing.checkpoint_bytes)  # none when it has finished
        episodes = round(steps * timing.step_bytes + evaluations * timing.eval_bytes)
        kept = {"none": 0, "final": 1, "every": evaluation_count(config)}[config.save.when]
        size += episodes + kept * timing.policy_bytes + config.keep_state * timing.checkpoint_bytes
        copied += episodes + (timing.policy_bytes if kept and shown.register_policies else 0)
        values += config.trained_steps * timing.step_values + evaluation_count(config) * timing.eval_values
        values += round(seconds[-1] * SYSTEM_METRICS_A_SECOND)
        if shown.traces_per_step:
            traces += (config.trained_steps + 1) * shown.traces_per_step + (
                config.trained_steps // REPEAT_STEPS + 1
            ) * timing.failed_episodes
    return CostEstimate(
        seconds=max([sum(seconds) / parallel, *seconds]),
        bytes=size,
        checkpoints=sum(sorted(held)[-parallel:]),
        copied=copied,
        database=values * METRIC_BYTES + traces * TRACE_BYTES,
    )


def evaluation_count(config: TrialConfig) -> int:
    """Evaluations of a trial, the one before its first step among them."""
    return sum(map(config.evaluates_at, range(config.start_step, config.steps + 1)))


def evaluation_episodes(config: TrialConfig) -> int:
    """Episodes of one evaluation, further ones under faults and perturbations included."""
    faults = config.environment.faults
    further = len(config.environment.perturbations.eval) + (faults is not None and faults.eval_rate > 0)
    return len(config.data.eval_suites) * config.data.eval_questions * (1 + config.data.eval_samples + further)


def training_episodes(config: TrialConfig) -> int:
    """Episodes of one training step."""
    return config.rollout.prompts_per_step * config.rollout.group_size


class _StepTimed(Exception):
    """The timed step is complete and its files are on disk."""


class _FirstCheckpoint:
    """Times a trial's first checkpoint and ends the trial there: none is written at a trial's last step."""

    def __init__(self, run: TrialRun) -> None:
        self._checkpoints = run.checkpoints("probe")
        self.seconds = 0.0

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None:
        start = time.perf_counter()
        self._checkpoints.write(step, lines, state)
        self.seconds = time.perf_counter() - start
        raise _StepTimed

    def resume(self) -> None:
        return None


def _play(config: TrialConfig, function: str, folder: Path) -> Timing:
    """Run a trial in `folder` up to its first step; its timing."""
    from harness.runs.checkpoint import KEPT  # torch
    from harness.sweep.worker import load_function

    trial = TrialRun(folder)
    checkpoint = _FirstCheckpoint(trial)
    steps, every = (2, 1) if config.checkpoint_every else (1, 0)
    save = config.save.model_copy(update={"when": "none" if config.save.when == "none" else "every"})
    short = config.model_copy(update={"steps": steps, "eval_every": 1, "checkpoint_every": every, "save": save})
    play = load_function(function)
    start = time.perf_counter()
    with Journal(folder, checkpoints=checkpoint) as journal, contextlib.suppress(_StepTimed):
        play(short, journal)
    whole = time.perf_counter() - start
    lines = [line.values for line in trial.metrics()]
    evaluations = [values.get("time/eval_s", 0.0) for values in lines]
    first, steps_s = lines[min(1, len(lines) - 1)], [values.get("time/step_s", 0.0) for values in lines]
    failed = sample_rows(trial.episode_files(1), 1, TraceSampler(0))
    return Timing(
        setup_s=max(0.0, whole - sum(steps_s) - sum(evaluations) - checkpoint.seconds),
        eval_s=first.get("time/eval_s", 0.0),
        step_s=first.get("time/step_s", 0.0),
        eval_bytes=_size(trial.episodes_folder, "step-000001-eval*"),
        step_bytes=_size(trial.episodes_folder, "step-000001-train*") + _size(folder, METRICS) // len(lines),
        policy_bytes=_size(trial.policy_path(1), "**/*"),
        checkpoint_s=checkpoint.seconds,
        checkpoint_bytes=_size(folder / CHECKPOINTS, "*"),
        checkpoints_held=KEPT + 1,  # the next is written before the oldest is removed
        eval_values=len(lines[0]),
        step_values=max(0, len(first) - len(lines[0])),
        failed_episodes=len(failed),
    )


def _size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


if __name__ == "__main__":
    config = TrialConfig.model_validate_json(sys.stdin.read())
    print(json.dumps(asdict(_play(config, sys.argv[1], Path(sys.argv[2])))))
