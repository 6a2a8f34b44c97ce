"""A tiny sweep with `branch:` from end to end: real Ray, real training, one worker killed, the registered ANCOVA."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from analysis.load import load_frames
from analysis.preregistration import check_registration
from analysis.seed_outcomes import seed_values
from analysis.stats.ancova import adjusted_difference
from analysis.summary import summarise
from harness.config import load_sweep
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.options import Options
from harness.sweep.run import FINISHED, run_sweep

SWEEP = """\
name: branched
hypothesis: h
profile: tiny
fixed:
  {steps: 3, eval_every: 1, checkpoint_every: 1, rollout: {prompts_per_step: 2, group_size: 4},
   update: {updates_per_batch: 2, learning_rate: 1e-3},
   data: {eval_suites: [world_single], eval_questions: 4, eval_samples: 1}}
parameters: {objective.preset: {values: [gsspo, grpo]}}
branch: {after: 1, arm: {objective.preset: grpo}}
seeds: 3
analysis:
  primary: {metric: eval_sampled/reward_mean, contrast: [gsspo, grpo], axis: objective.preset}
  paired: true
  adjusted: true
  margin: 0.5
  alpha: 0.05
tracking: {traces_per_step: 0}
"""
METRIC = "eval_sampled/reward_mean"


@pytest.fixture
def branched(ray_session, runner) -> SweepFolder:
    path = runner.home / "branched.yaml"
    path.write_text(SWEEP)
    where = {"out": runner.home / "runs", "trial": "tests.support.branch_trials:killed_once_after_branch"}
    console = Console(file=io.StringIO(), width=200)
    status = run_sweep(load_sweep(path), Options(**where), console)
    assert status == FINISHED, console.file.getvalue()
    return SweepFolder(runner.home / "runs" / "branched")


def test_arms_continue_from_a_trunk_through_a_kill_and_are_adjusted_for_it(branched):
    runs = {folder.name.rsplit("-", 1)[0]: TrialRun(folder) for folder in branched.trials.iterdir()}
    assert len(runs) == 9
    steps = {name: [line.step for line in run.metrics()] for name, run in runs.items()}
    assert {name: found for name, found in steps.items() if name.startswith("trunk")} == {
        f"trunk_seed{seed}": [0, 1] for seed in range(3)
    }
    assert {tuple(found) for name, found in steps.items() if not name.startswith("trunk")} == {(1, 2, 3)}
    assert {name: len(run.attempts()) for name, run in runs.items()} == {
        name: 1 + (name == "gsspo_seed0") for name in runs
    }

    frames = load_frames(branched.root)
    assert frames.start_step == 1
    starts, ends = ([seed_values(frames, METRIC, arm, step) for arm in ("gsspo", "grpo")] for step in (1, 3))
    assert np.array_equal(*starts)  # one checkpoint a seed, one evaluation of it
    registration = check_registration(frames)
    assert registration.kept
    assert "adjusted for the common checkpoint, from a common trunk of 1 steps" in registration.sentences[0]
    rows = [r for r in summarise(frames, registration.plan).contrasts if r.contrast.confirmatory]
    estimate, test = adjusted_difference(*ends, starts[0], starts[0], paired=True)
    (row,) = rows
    assert row.n_seeds == (3, 3)
    assert row.difference.value == pytest.approx(estimate.value)
    assert row.test.p == test.p
