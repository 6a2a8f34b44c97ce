"""A trial that really trained LoRA adapters, in a step or two, and kept its policy."""

from __future__ import annotations

from pathlib import Path

from harness.config import code_version, expand, load_sweep
from harness.runs.run import TrialRun
from harness.sweep.worker import TRIAL, run_one

SWEEP = """\
name: lora
hypothesis: none
profile: tiny
fixed:
  {steps: 1, eval_every: 5, policy.lora: {rank: 4, alpha: 8.0}, save: {when: final, merged: true},
   rollout: {prompts_per_step: 3, group_size: 4}, update: {updates_per_batch: 2, learning_rate: 1e-2},
   data: {eval_suites: [world_single], eval_questions: 1, eval_samples: 0}}
parameters: {}
seeds: [0]
"""


def lora_trial(home: Path) -> Path:
    """The folder of the policy it kept."""
    file = home / "sweep.yaml"
    file.write_text(SWEEP)
    (trial,) = expand(load_sweep(file))
    TrialRun(home / "trial").prepare(trial, code_version(), {})
    run_one(TrialRun(home / "trial"), TRIAL)
    return TrialRun(home / "trial").policy_path(1)
