"""A trial over two processes, one of which is killed, goes on from its checkpoint and ends as if nothing had been."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config import code_version, expand, load_sweep
from harness.runs.jsonl import read_lines
from harness.runs.layout import ATTEMPTS, CHECKPOINTS
from harness.runs.run import TrialRun
from harness.sweep.worker import TRIAL, run_one
from tests.system.distributed.killed_trials import HERE

ROOT = Path(__file__).parents[3]
SMALL = (
    "steps=3", "eval_every=3", "checkpoint_every=1", "data.eval_questions=1", "data.eval_suites=[world_single]",
    "data.eval_samples=0", "rollout.prompts_per_step=2", "rollout.group_size=4", "update.updates_per_batch=2",
    "policy.lora={rank: 2, alpha: 4.0}", "objective.kl_weight=0.01", "update.learning_rate=1e-3",
    "objective.clip={kind: matched, target: 0.1, low: 0.2, high: 0.2}",
)  # fmt: skip


def trial_folder(home: Path) -> Path:
    home.mkdir(parents=True)
    file = home / "sweep.yaml"
    file.write_text("name: t\nhypothesis: none\nprofile: tiny\nparameters: {}\nseeds: [0]\n")
    (trial,) = expand(load_sweep(file, SMALL))
    TrialRun(home / "trial").prepare(trial, code_version(), {})
    return home / "trial"


def run(meeting: Path, trials: dict[Path, str]) -> list[int]:
    """Exit statuses of two workers that run the functions of some folders' trials."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    rest = [str(meeting), *(f"{folder}={function}" for folder, function in trials.items())]
    processes = [
        subprocess.Popen([sys.executable, "-m", HERE, str(rank), "2", *rest], cwd=ROOT, env=environment)
        for rank in range(2)
    ]
    try:
        return [p.wait(timeout=200) for p in processes]
    finally:
        for p in processes:
            p.kill()


def starts(folder: Path) -> list[int | None]:
    return [r.get("resumed_from") for r in read_lines(folder / ATTEMPTS).records if r["event"] == "start"]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_trial_whose_worker_was_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    whole, killed, alone = trial_folder(tmp_path / "whole"), trial_folder(tmp_path / "killed"), tmp_path / "alone"
    first, second = run(tmp_path / "first", {whole: TRIAL, killed: f"{HERE}:second_dies"})
    assert (first != 0, second) == (True, -9)
    assert starts(whole) == starts(killed) == [None]
    checkpoint, troubles = TrialRun(killed).newest_checkpoint(TrialRun(killed).info().key)
    assert checkpoint is not None
    assert (checkpoint.step, troubles) == (1, [])
    shutil.copytree(killed, alone)
    assert run(tmp_path / "second", {killed: TRIAL}) == [0, 0]
    assert starts(killed) == [None, 1]
    assert TrialRun(killed).comparable_journal() == TrialRun(whole).comparable_journal()
    assert TrialRun(killed).result()["final"] == TrialRun(whole).result()["final"]  # type: ignore[index]
    assert not (killed / CHECKPOINTS).exists()
    # what two workers left, one can go on from: the state is whole
    run_one(TrialRun(alone), TRIAL)
    assert starts(alone) == [None, 1]
    ours, theirs = ([values for _, values, _ in TrialRun(folder).metrics()] for folder in (alone, whole))
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(ours, theirs, strict=True):
        trained = {k: v for k, v in other.items() if not k.startswith("time/")}
        assert {k: mine[k] for k in trained} == pytest.approx(trained, rel=1e-4, abs=5e-5)
