"""A trunk is trained once, by whichever worker comes first, and survives kills, damage and its arms' ends."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from analysis.load import load_frames
from analysis.registered_plan import read_analysis_plan
from analysis.requirements import Evidence, evaluate_requirements
from analysis.summary import summarise
from harness.config import TrialConfig, code_version, expand, load_sweep
from harness.runs.journal import Journal
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.attempts import MAX_FAILURES, TrialRefused
from harness.sweep.run_trials import main as run_trials
from harness.sweep.worker import run_one
from harness.tasks.benchmarks.errors import DataError
from harness.types import Diverged

SWEEP = """\
name: branched
hypothesis: none
profile: tiny
fixed: {steps: 4, eval_every: 1, checkpoint_every: 1}
parameters: {objective.preset: {values: [gsspo, grpo]}}
branch: {after: 2, arm: {objective.preset: grpo}}
seeds: [0]
analysis:
  {primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset, over: area}, margin: 0.03, alpha: 0.05}
"""
COUNT = f"{__name__}:counts"
FAIL = f"{__name__}:trunk_fails"


def counts(config: TrialConfig, journal: Journal) -> dict[str, float]:
    """EM counts the steps that led to it, those before the branch by the trunk's state alone."""
    state = journal.resume()
    done = float(state["done"]) if state is not None else 0.0
    first = 0 if state is None else int(state["step"]) + (int(state["step"]) != config.start_step)
    for step in range(first, config.steps + 1):
        done += step > config.start_step
        journal.metrics(step, {"eval/em": done / 10, "eval/em/world_single": done / 10})
        if config.checkpoints_at(step):
            journal.checkpoint(step, {"step": step, "done": done, "weights": torch.zeros(3)})
    return {"eval/em": done / 10}


def trunk_fails(config: TrialConfig, journal: Journal) -> dict[str, float]:
    if config.keep_state:
        raise ArithmeticError("no trunk today")
    return counts(config, journal)


def trunk_lacks_data(config: TrialConfig, journal: Journal) -> dict[str, float]:
    raise DataError("no questions")


def trunk_diverges(config: TrialConfig, journal: Journal) -> dict[str, float]:
    raise Diverged("the loss", {}, 1)


def trunk_fails_once(config: TrialConfig, journal: Journal) -> dict[str, float]:
    if config.keep_state and len(TrialRun(journal.directory).attempts()) == 1:
        raise ArithmeticError("not the first time")
    return counts(config, journal)


@pytest.fixture
def runs(tmp_path) -> dict[str, TrialRun]:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    spec = load_sweep(path)
    folder = SweepFolder(tmp_path / "branched")
    folder.write_manifest(spec)
    found = {}
    for trial in expand(spec):
        found[trial.arm] = folder.trial(trial)
        found[trial.arm].prepare(trial, code_version(), spec.labels, spec.preregistration)
    return found


def status(run: TrialRun) -> TrialStatus:
    return run.status(run.info().key)


def steps(run: TrialRun) -> list[tuple[int, float]]:
    return [(line.step, line.values["eval/em"]) for line in run.metrics()]


def test_the_first_arm_trains_the_trunk_and_the_others_take_it(runs):
    for arm in ("gsspo", "grpo"):
        run_one(runs[arm], COUNT)
        assert steps(runs[arm]) == [(2, 0.2), (3, 0.3), (4, 0.4)]
        assert not list(runs[arm].folder.glob("checkpoints/*"))
    run_one(runs["trunk"], COUNT)
    assert len(runs["trunk"].attempts()) == 1
    assert steps(runs["trunk"]) == [(0, 0.0), (1, 0.1), (2, 0.2)]
    assert runs["trunk"].keeps_state(runs["trunk"].info())
    assert runs["gsspo"].attempts()[0]["branches_from"] == runs["trunk"].folder.name


def test_a_trunk_whose_state_is_damaged_is_trained_again(runs):
    run_one(runs["trunk"], COUNT)
    newest = sorted(runs["trunk"].folder.glob("checkpoints/*.pt"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    run_one(runs["grpo"], COUNT)
    assert len(runs["trunk"].attempts()) == 2
    assert steps(runs["grpo"])[0] == (2, 0.2)
    assert status(runs["grpo"]) is TrialStatus.FINISHED


@pytest.mark.parametrize(
    ("function", "attempts", "reason"),
    [
        (FAIL, 1 + MAX_FAILURES, "ArithmeticError: no trunk today"),
        (f"{__name__}:trunk_lacks_data", 1, "DataError: no questions"),
        (f"{__name__}:trunk_diverges", 1, "Diverged: training diverged at step 1: the loss is not finite"),
    ],
)
def test_arms_of_a_trunk_that_failed_for_good_are_refused_once_with_its_reason(runs, function, attempts, reason):
    for arm in ("gsspo", "grpo"):
        run_one(runs[arm], function)  # raises nothing, so Ray does not try again
        assert re.sub(r"[\w.]+\.(?=[A-Z])", "", runs[arm].error_line()) == (
            f"TrialRefused: its trunk trunk_seed0 failed: {reason}"
        )
        assert len(runs[arm].attempts()) == 1
    assert len(runs["trunk"].attempts()) == attempts
    assert {status(run) for run in runs.values()} == {TrialStatus.FAILED}


def test_an_arm_over_several_workers_says_that_it_is_refused(runs):
    with pytest.raises(TrialRefused, match="no trunk today"):
        run_one(runs["gsspo"], FAIL, SimpleNamespace(size=2, rank=0, gather=lambda value: [value, value]))


def test_a_trunk_that_fails_once_is_tried_again_and_its_arms_go_on(runs):
    for arm in ("gsspo", "grpo"):
        run_one(runs[arm], f"{__name__}:trunk_fails_once")
        assert status(runs[arm]) is TrialStatus.FINISHED
    assert len(runs["trunk"].attempts()) == 2


def test_trunks_of_prepared_sweeps_are_trained_in_any_order_of_folders(runs, capsys):
    assert run_trials([str(run.folder) for run in reversed(runs.values())], COUNT) == 0
    assert {status(run) for run in runs.values()} == {TrialStatus.FINISHED}
    assert "trunk_seed0: already finished" in capsys.readouterr().out
    assert len(runs["trunk"].attempts()) == 1


def test_an_analysis_has_no_arm_of_trunks_and_curves_from_the_branch_on(runs):
    for run in runs.values():
        run_one(run, COUNT)
    frames = load_frames(Path(runs["trunk"].folder.parent.parent))
    assert list(frames.arms) == ["gsspo", "grpo"]
    assert frames.start_step == 2
    summary = summarise(frames)
    assert summary.arms[0].rise.value == pytest.approx(0.2)
    plan = read_analysis_plan(frames.config["analysis"])
    learns = {"kind": "learns", "metric": "eval/em", "at_least": 0.3}
    (check,) = evaluate_requirements([learns], Evidence(frames, plan))
    assert check.observed == pytest.approx(0.2)
    assert not check.holds
