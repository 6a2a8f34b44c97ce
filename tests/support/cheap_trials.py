"""Trials that cost nothing, for tests of the machinery around them. Run in Ray's workers by their import path."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.config import TrialConfig
from harness.runs.journal import Journal
from harness.types import ParsedTurn, ParseFailure, Question, Reward, StopReason, Trajectory, Turn

GAIN = {"gsspo": 0.03, "grpo": 0.01, "gspo": 0.02}


def episode(suite: str, seed: int) -> Trajectory:
    question = Question(f"{suite}-1", "Where?", ("Accra",), suite)
    turn = Turn((1, 2), (-0.5, -0.5), ParsedTurn("nothing", None, None, (ParseFailure.MISSING_THINK,)), 2)
    return Trajectory(question, (1,), (turn,), StopReason.TURN_BUDGET, Reward(-1.5, -1, -0.5, 0, 0, 0, None), (), seed)


def learns(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """EM that rises by a known amount a step, a little differently for every seed."""
    final = {}
    for step in range(config.steps + 1):
        em = 0.2 + GAIN[config.objective.preset or "gsspo"] * step + 0.001 * config.seed
        values = {"train/reward_mean": em - 0.5, "train/parse_ok_rate": 0.9, "time/step_s": 0.01}
        if step % config.eval_every == 0 or step == config.steps:
            final = {"eval/em": em} | {f"eval/em/{suite}": em for suite in config.data.eval_suites}
            journal.episodes(step, "eval", [episode(suite, config.seed) for suite in config.data.eval_suites])
        journal.event("step", step=step)
        journal.metrics(step, values | final)
    print(f"threads {os.environ.get('OMP_NUM_THREADS')} in {os.getcwd()}")
    return final


def gspo_fails(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """As `learns`, but GSPO stops with an error after a step, every time."""
    if config.objective.preset == "gspo":
        journal.metrics(0, {"eval/em": 0.1})
        raise ArithmeticError("the loss is not finite at step 1")
    return learns(config, journal)


def is_stopped(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """The user, or a batch system, ends the process after a step."""
    journal.metrics(0, {"eval/em": 0.1})
    raise KeyboardInterrupt


def keeps(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """Keeps policies and checkpoints of a known size; its first step takes a second, it says, an evaluation 100."""
    import torch  # heavy

    for step in range(config.steps + 1):
        assert step < 2, "a step more than is timed"
        values = {"time/step_s": float(step), "time/eval_s": 10.0 ** (2 * step)}
        journal.episodes(step, "eval", [episode("world_single", config.seed)])
        if config.saves_at(step):
            journal.policy(step, lambda folder, size=1000 + step: (folder / "weights").write_bytes(b"w" * size))
        journal.metrics(step, values)
        if config.checkpoints_at(step):
            journal.checkpoint(step, {"weights": torch.zeros(10**6)})
    return {}


def ends_badly(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """As `keeps`, in a process that aborts when all is said."""
    atexit.register(os.abort)
    return keeps(config, journal)


def fails_at_length(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """Stops with a message of many lines, the first of which says what went wrong."""
    raise RuntimeError("\nCUDA error: device-side assert triggered\nFor debugging pass CUDA_LAUNCH_BLOCKING=1\n"
                       "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n")  # fmt: skip


def killed_once(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """As `learns`, but the worker of the first attempt at seed 0 is killed in the middle of a step."""
    mark = Path(journal.directory) / "killed"
    if config.seed == 0 and not mark.exists():
        journal.metrics(0, {"eval/em": 0.1})
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return learns(config, journal)


def slow(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """A trial long enough to be interrupted: the second seed and later wait for a minute."""
    if config.seed > 0:
        journal.metrics(0, {"eval/em": 0.1})
        time.sleep(60)
    return learns(config, journal)


def on_a_node(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """As `learns`, three seconds long, and says where it runs."""
    import ray

    Path(journal.directory, f"node-{ray.get_runtime_context().get_node_id()}").touch()
    time.sleep(3)
    return learns(config, journal)


def blurts(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """Prints every planted secret in each way there is; GSPO then fails with all of them in its traceback."""
    planted = [os.environ[name] for name in ("PLANTED_API_KEY", "MLFLOW_TRACKING_PASSWORD", "THE_DOOR")]
    told = f"asked http://user:{planted[1]}@localhost/ with {planted[0]} and {planted[2]}"
    print(told)
    print(told[:20], end="")
    print(told[20:], file=sys.stderr)
    logging.getLogger("planted").warning(told)
    os.write(1, told.encode())
    subprocess.run(["echo", told], check=True)
    journal.checkpoint(0, {"step": 0, "questions": 0})
    if config.objective.preset == "gspo":
        try:
            raise ConnectionError(told)
        except ConnectionError as error:
            raise RuntimeError(f"no answer from {planted[2]} with {planted[0]}") from error
    return learns(config, journal)
