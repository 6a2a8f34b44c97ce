"""A trial of the embedded tier small enough for a test."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness.config import TrialConfig, expand, load_sweep

SMALL = (
    "steps=2",
    "eval_every=2",
    "data.eval_questions=3",
    "data.eval_suites=[world_single, world_chain]",
    "data.eval_samples=0",
    "rollout.prompts_per_step=4",
    "rollout.group_size=4",
    "update.updates_per_batch=2",
    "update.learning_rate=1e-3",
)


def small_trial(seed: int, *overrides: str) -> TrialConfig:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(f"name: t\nhypothesis: none\nprofile: tiny\nparameters: {{}}\nseeds: [{seed}]\n")
        (trial,) = expand(load_sweep(file, [*SMALL, *overrides]))
    return trial.config
