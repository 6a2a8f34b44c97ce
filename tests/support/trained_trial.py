"""One short trial that really trained, kept its policies and is in MLflow: what evaluations are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.config import code_version, expand, load_sweep
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.worker import run_one
from harness.tracking import Tracker, default_uri

SWEEP = """\
name: demo
hypothesis: h
profile: tiny
fixed:
  {steps: 2, eval_every: 1, rollout: {prompts_per_step: 4, group_size: 4}, update.updates_per_batch: 2,
   update.learning_rate: 1e-3, save.when: every,
   data: {eval_suites: [world_single, world_chain], eval_questions: 4, eval_samples: 0}}
parameters: {objective.preset: {values: [gsspo]}}
seeds: [3]
tracking: {traces_per_step: 0}
"""


@dataclass(frozen=True)
class Trained:
    """`home` is the folder of sweeps, `trial` the trial's own."""

    home: Path
    trial: Path

    @property
    def uri(self) -> str:
        return default_uri(self.home)


def train(home: Path) -> Trained:
    path = home / "demo.yaml"
    path.write_text(SWEEP)
    spec = load_sweep(path)
    folder = SweepFolder(home / "runs" / "demo")
    folder.write_manifest(spec)
    (trial,) = expand(spec)
    folder.trial(trial).prepare(trial, code_version(), spec.labels)
    run_one(folder.trial(trial), "harness.training.train:run_trial")
    made = Trained(home / "runs", folder.trial(trial).folder)
    Tracker(folder, made.uri, "demo").sync(TrialRun(made.trial))
    return made
