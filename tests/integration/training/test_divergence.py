"""A trial that diverges ends at once, with its step and quantity named and the metrics of that step kept."""

from __future__ import annotations

import math

import pytest
import torch

from analysis.load import load_frames
from analysis.registered_plan import AnalysisPlan
from analysis.summary import summarise
from harness.config import code_version, expand, load_sweep
from harness.objectives.clip import FixedClip
from harness.policy.tiny import new_model
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep import run_trials
from harness.sweep.worker import run_one
from harness.training.update import policy_update
from harness.types import Diverged, ParsedTurn, Turn
from tests.support.cheap_trials import learns
from tests.support.episodes import chat, group
from tests.support.update_config import update_config

DIVERGES = """\
name: diverges
hypothesis: "h"
profile: tiny
fixed: {steps: 2, eval_every: 1, data.eval_questions: 1, data.eval_suites: [world_single], data.eval_samples: 0,
        rollout.prompts_per_step: 2, rollout.group_size: 4, update.updates_per_batch: 2}
parameters:
  update.learning_rate: {values: {small: 1e-4, huge: 1e30}}
seeds: 1
"""


@pytest.fixture(scope="module")
def trials(tmp_path_factory):
    """A sweep's folder with a cheap finished trial and a real one that diverged, by arm."""
    root = tmp_path_factory.mktemp("diverges")
    (root / "diverges.yaml").write_text(DIVERGES)
    spec = load_sweep(root / "diverges.yaml")
    runs = {}
    for trial in expand(spec, code_version()):
        runs[trial.arm] = run = TrialRun(root / "trials" / trial.directory)
        run.prepare(trial, code_version(), spec.labels)
        run_one(run, "harness.training.train:run_trial" if trial.arm == "huge" else f"{__name__}:{learns.__name__}")
    return root, runs


def test_step_and_quantity_are_named_and_the_steps_metrics_kept(trials):
    run = trials[1]["huge"]
    key = run.info().key
    assert run.status(key) is TrialStatus.FAILED
    assert run.diverged(key).startswith("step 1: the log-probability of ")
    assert run.error_line().endswith(f"Diverged: training diverged at {run.diverged(key)} is not finite")
    last = run.metrics()[-1]
    assert last.step == 1
    assert math.isnan(last.values["update/loss"])
    assert math.isfinite(last.values["train/reward_mean"])
    [event] = [e for e in run.events() if e["kind"] == "diverged"]
    assert event["fields"]["step"] == 1
    assert len(run.attempts()) == 1


def test_a_diverged_trial_is_not_run_again(trials, capsys):
    run = trials[1]["huge"]
    assert run_trials.main([str(run.folder)]) == 1
    assert "not run again, it diverged at step 1" in capsys.readouterr().out
    assert len(run.attempts()) == 1


def test_the_summary_counts_diverged_trials_by_arm(trials):
    frames = load_frames(trials[0])
    assert frames.trials.set_index("arm")["status"].to_dict() == {"small": "done", "huge": "diverged"}
    text = summarise(frames, AnalysisPlan()).text()
    assert "huge: 1 of 1 trials diverged (step 1: the log-probability of" in text
    assert "it has no numbers" in text


def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    policy = new_model(len(chat().tokenizer), hidden=32, layers=2, heads=2, seed=0)
    return policy, torch.optim.SGD(policy.parameters(), lr=1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_of_a_policy_that_is_not_finite_changes_no_weight(value):
    policy, optimizer = model_and_optimizer()
    with torch.no_grad():
        next(iter(policy.parameters()))[:] = value
    before = [p.detach().clone() for p in policy.parameters()]
    result = policy_update(policy, optimizer, [group(0), group(1)], FixedClip(0.2, 0.2), update_config())
    assert result.diverged is not None
    assert result.diverged.startswith("the log-probability of ")
    assert all(torch.equal(a, b) for a, b in zip(before[1:], list(policy.parameters())[1:], strict=True))


def test_a_gradient_that_is_not_finite_is_named(monkeypatch):
    policy, optimizer = model_and_optimizer()
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(math.inf))
    before = [p.detach().clone() for p in policy.parameters()]
    result = policy_update(policy, optimizer, [group(0), group(1)], FixedClip(0.2, 0.2), update_config())
    assert result.diverged == "the gradient norm"
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_sampled_log_probability_that_is_not_finite_is_named(value):
    with pytest.raises(Diverged, match="the log-probability of a sampled token is not finite"):
        Turn((1,), (value,), ParsedTurn("", None, None), 1)
