"""A trial that diverges ends at once, with its step and quantity named and the metrics of that step kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from analysis.load import load_frames
from analysis.registered_plan import AnalysisPlan
from analysis.summary import summarise
from harness.config import code_version, expand, load_sweep
from harness.objectives.advantages import ADVANTAGES
from harness.objectives.clip import FixedClip
from harness.objectives.surrogates import min_clip
from harness.policy.tiny import new_model
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep import run_trials
from harness.sweep.worker import run_one
from harness.training import update
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


def updated(reference=None, **settings):
    """An update of a small policy, and whether any weight changed."""
    policy, optimizer = model_and_optimizer()
    before = [p.detach().clone() for p in policy.parameters()]
    groups = [group(0), group(1)]
    result = policy_update(policy, optimizer, groups, FixedClip(0.2, 0.2), update_config(**settings), reference)
    return result, any(not torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_log_probability_of_the_reference_that_is_not_finite_is_named(value):
    """An infinite one would be clamped in the KL term, and the update look sound."""

    def reference(batch):
        logp = torch.full((int(batch.policy.sum()),), -1.0)
        logp[1] = value
        return logp

    result, changed = updated(reference, kl_weight=0.1)
    assert result.diverged is not None
    assert result.diverged.endswith("tokens in the update under the reference policy")
    assert not changed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_log_probability_before_the_updates_that_is_not_finite_is_named(monkeypatch, value):
    given = update.logprobs

    def first_pass(*args):
        logp, entropy = given(*args)
        return (logp, entropy) if torch.is_grad_enabled() else (torch.full_like(logp, value), entropy)

    monkeypatch.setattr(update, "logprobs", first_pass)
    result, changed = updated(importance_cap=2.0)
    assert result.diverged is not None
    assert result.diverged.endswith("tokens in the update under the policy before the updates")
    assert not changed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("parameter", range(3))
def test_one_number_of_a_gradient_that_is_not_finite_changes_no_weight(value, parameter):
    policy, optimizer = model_and_optimizer()
    chosen = list(policy.parameters())[parameter]

    def spoil(gradient):
        gradient = gradient.clone()
        gradient.view(-1)[0] = value
        return gradient

    chosen.register_hook(spoil)
    before = [p.detach().clone() for p in policy.parameters()]
    result = policy_update(policy, optimizer, [group(0), group(1)], FixedClip(0.2, 0.2), update_config())
    assert result.diverged == "the gradient norm"
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


def test_a_loss_that_is_not_finite_in_the_second_of_three_updates_is_named_and_shown(monkeypatch):
    calls, updated = [], []

    def surrogate(ratio, advantage, band):
        calls.append(len(updated))
        return min_clip(ratio, advantage, band) * (math.nan if len(updated) == 1 else 1.0)

    monkeypatch.setitem(update.SURROGATES, "min_clip", surrogate)
    policy, optimizer = model_and_optimizer()
    optimizer.register_step_post_hook(lambda *_: updated.append(1))
    config = update_config(updates_per_batch=3)
    result = policy_update(policy, optimizer, [group(n) for n in range(3)], FixedClip(0.2, 0.2), config)
    assert result.diverged == "the loss"
    assert set(calls) == {0, 1}
    assert len(updated) == 1
    assert math.isnan(result.metrics["update/loss"])
    assert math.isnan(result.metrics["update/grad_norm_max"])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("quantity", ["reward", "advantage"])
def test_a_reward_or_advantage_that_is_not_finite_ends_the_update_by_name(monkeypatch, quantity, value):
    def spoilt(rewards, groups):
        return torch.where(torch.arange(len(rewards)) == 1, value, rewards)

    monkeypatch.setitem(ADVANTAGES, update_config().objective.advantage, spoilt)
    groups = [group(0), group(1)]
    if quantity == "reward":
        first = groups[0].trajectories[0]
        bad = replace(first, reward=replace(first.reward, total=value))
        groups[0] = replace(groups[0], trajectories=(bad, *groups[0].trajectories[1:]))
    policy, optimizer = model_and_optimizer()
    before = [p.detach().clone() for p in policy.parameters()]
    result = policy_update(policy, optimizer, groups, FixedClip(0.2, 0.2), update_config())
    assert result.diverged == f"the {quantity} of 1 episodes in the update"
    assert all(torch.equal(a, b) for a, b in zip(before, policy.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_sampled_log_probability_that_is_not_finite_is_named(value):
    with pytest.raises(Diverged, match="the log-probability of a sampled token is not finite"):
        Turn((1,), (value,), ParsedTurn("", None, None), 1)
