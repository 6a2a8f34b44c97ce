"""A trial of the embedded tier small enough for a test, and a sink that keeps its metrics."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import TrialConfig, expand, load_sweep
from harness.types import Trajectory

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


class Memory:
    """A sink that keeps the metrics, times left out."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.values.append({"step": step} | {k: v for k, v in values.items() if not k.startswith("time/")})

    def event(self, kind: str, **fields: Any) -> None: ...

    def policy(self, *args: Any, **kwargs: Any) -> None: ...

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None: ...
