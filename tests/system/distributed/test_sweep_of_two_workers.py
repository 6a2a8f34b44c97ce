"""`python -m harness.sweep` with `resources.workers=2`: Ray Train's two processes give what one process gives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.config import code_version, expand, load_sweep
from harness.policy.load import TINY_ASSETS
from harness.runs.episode_store import read_episodes
from harness.runs.jsonl import read_lines
from harness.runs.layout import ATTEMPTS, CHECKPOINTS, EPISODES, POLICIES
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.worker import TRIAL, run_one
from harness.tracking import default_uri
from tests.support.console import counted

ROOT = Path(__file__).parents[3]
SWEEP = """\
name: together
hypothesis: the number of workers changes nothing
profile: tiny
fixed:
  {steps: 3, eval_every: 3, checkpoint_every: 1, rollout: {prompts_per_step: 3, group_size: 4},
   update: {updates_per_batch: 2, learning_rate: 1e-6}, save.when: final,
   data: {eval_suites: [world_single], eval_questions: 3, eval_samples: 0}}
seeds: [0]
resources: {workers: 2}
"""
"""Where a gradient is nearly zero, Adam makes its rounding as large as a step: the learning rate is so small that this
changes no sampled token."""
ROUNDED = ("update/", "sampler/")
"""Metrics that sum float32 values in another order; all others follow from the sampled tokens."""


def wait_for_a_checkpoint(folder: Path, driver: subprocess.Popen[str]) -> int:
    """The process that keeps the journal of a trial which has a checkpoint."""
    end = time.monotonic() + 400
    while not list((folder / CHECKPOINTS).glob("*.json")):
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < end, "no checkpoint"
        time.sleep(0.02)
    return int(read_lines(folder / ATTEMPTS).records[-1]["pid"])


def episodes(folder: Path) -> dict[str, Any]:
    wanted = ("question_id", "sample_seed", "stop", "reward", "em", "tokens", "tokens_seen")
    return {
        p.name: [([row[k] for k in wanted], [turn["text"] for turn in row["turns"]]) for row in read_episodes(p)]
        for p in (folder / EPISODES).iterdir()
    }


def moved(folder: Path) -> torch.Tensor:
    """Where training moved the weights of a trial's last policy. float64, all of them in one row."""
    trained, start = (load_file(at / "model.safetensors") for at in (folder / POLICIES / "step-000003", TINY_ASSETS))
    return torch.cat([(trained[name].double() - start[name].double()).flatten() for name in sorted(start)])


def same(ours: Path, theirs: Path) -> None:
    """Metrics, episodes and weights of two trials."""
    assert episodes(ours) == episodes(theirs)
    mine, other = ([(s, v) for s, v, _ in TrialRun(folder).metrics()] for folder in (ours, theirs))
    assert [s for s, _ in mine] == [s for s, _ in other] == [0, 1, 2, 3]
    for (_, a), (_, b) in zip(mine, other, strict=True):
        assert a.keys() == b.keys()
        for name in (n for n in b if not n.startswith("time/")):
            tight = {"rel": 1e-4, "abs": 5e-5} if name.startswith(ROUNDED) else {"rel": 1e-6, "abs": 1e-6}
            assert a[name] == pytest.approx(b[name], **tight), name
    assert moved(theirs).norm() > 0
    assert torch.dist(moved(ours), moved(theirs)) < 0.05 * moved(theirs).norm()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_over_two_workers_of_which_one_is_killed_gives_what_one_worker_gives(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    (trial,) = expand(load_sweep(file), code_version())
    folder, alone = SweepFolder(tmp_path / "runs" / "together").trial(trial).folder, tmp_path / "alone"
    command = [sys.executable, "-m", "harness.sweep", str(file), "--out", str(tmp_path / "runs")]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    driver = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        os.kill(wait_for_a_checkpoint(folder, driver), signal.SIGKILL)
        printed, _ = driver.communicate(timeout=600)
    finally:
        driver.kill()
    assert driver.returncode == 0, printed
    assert counted(printed, 1, 1, 0, 1, 0)
    resumed = [r.get("resumed_from") for r in read_lines(folder / ATTEMPTS).records if r["event"] == "start"]
    assert len(resumed) == 2
    assert resumed[1] >= 1
    assert (folder / "output.log").exists()
    assert (folder / "output-1.log").exists()  # of the other worker, which keeps nothing else
    assert not (folder / ".train").exists()
    TrialRun(alone).prepare(trial, code_version(), {})
    run_one(TrialRun(alone), TRIAL)
    same(folder, alone)
    together, single = TrialRun(folder).result(), TrialRun(alone).result()
    assert together is not None
    assert single is not None
    assert together["final"] == pytest.approx(single["final"], abs=1e-6)
    one_run_in_mlflow(tmp_path / "runs", trial.key, folder)


def one_run_in_mlflow(out: Path, key: str, folder: Path) -> None:
    """With the journal's numbers."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(default_uri(out))
    experiment = client.get_experiment_by_name("together").experiment_id
    (run,) = [r for r in client.search_runs([experiment]) if "trial_key" in r.data.tags]
    assert (run.data.tags["trial_key"], run.info.status) == (key, "FINISHED")
    logged = {(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "train/reward_mean")}
    kept = [(step, v["train/reward_mean"]) for step, v, _ in TrialRun(folder).metrics() if "train/reward_mean" in v]
    assert sorted(logged) == [(step, pytest.approx(value)) for step, value in kept]
