"""The demonstration sweep of the tests, run in a folder of its own."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from harness.config import SweepSpec, TrialSpec, code_version, expand, load_sweep
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.options import Options
from harness.sweep.run import run_sweep

ROOT = Path(__file__).parents[2]
SWEEP = """\
name: demo
hypothesis: the embedded arms differ
profile: tiny
fixed:
  {steps: 4, eval_every: 2, rollout: {prompts_per_step: 16, group_size: 8},
   data: {eval_suites: [world_single, world_chain], eval_questions: 5}}
parameters:
  objective.preset: {values: [gsspo, grpo, gspo]}
seeds: 2
analysis:
  primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}
  margin: 0.03
  alpha: 0.05
small: {seeds: [0], steps: 2}
"""


@dataclass
class Runner:
    """Runs the demonstration sweep in a folder of its own, and keeps what was printed."""

    home: Path
    printed: str = ""

    @property
    def folder(self) -> SweepFolder:
        return SweepFolder(self.home / "runs" / "demo")

    @property
    def store(self) -> str:
        return f"sqlite:///{self.home / 'runs' / 'mlflow.db'}"

    def spec(self, *overrides: str, small: bool = False) -> SweepSpec:
        path = self.home / "demo.yaml"
        path.write_text(SWEEP)
        return load_sweep(path, overrides, small=small)

    def prepared(self, code: str | None = None) -> tuple[TrialSpec, Path]:
        """A sweep of one trial, which has not begun; `code`: the version it is of, if not the present one."""
        spec = self.spec("objective.preset=grpo", "seeds=[0]")
        [trial] = expand(spec)
        folder = self.folder.trial(trial).folder
        self.folder.write_manifest(spec)
        TrialRun(folder).prepare(trial, code or code_version(), spec.labels)
        return trial, folder

    def __call__(self, trial: str, *overrides: str, small: bool = False, **options: object) -> int:
        console = Console(file=io.StringIO(), width=200)
        where = {
            "out": self.home / "runs",
            "trial": f"tests.support.cheap_trials:{trial}",
        }
        status = run_sweep(self.spec(*overrides, small=small), Options(**{**where, **options}), console)
        self.printed = console.file.getvalue()
        return status


@dataclass
class Finished:
    """A sweep that has ended: runner, exit status, output, and unignored files left in the checkout."""

    runner: Runner
    status: int
    printed: str
    left_in_checkout: set[str]


def untracked() -> set[str]:
    """Files of the checkout that git neither tracks nor ignores."""
    command = ["git", "ls-files", "--others", "--exclude-standard"]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines())
