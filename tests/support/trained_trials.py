"""A trial that really trained LoRA adapters, in a step or two, and kept its policy."""

from __future__ import annotations

from pathlib import Path

from harness.config import code_version, expand, load_sweep
from harness.runs.journal import policy_path
from harness.runs.layout import prepare_trial
from harness.sweep.run import TRIAL
from harness.sweep.worker import run_one

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
    prepare_trial(home / "trial", trial, code_version(), {})
    run_one(home / "trial", TRIAL)
    return policy_path(home / "trial", 1)
