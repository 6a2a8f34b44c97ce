"""The cost estimate of a dry run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config import TrialConfig, load_trial
from harness.config.sweep_file import Resources, Tracking
from harness.runs.checkpoint import KEPT
from harness.sweep import step_timing as probing
from harness.sweep.step_timing import METRIC_BYTES, TRACE_BYTES, ProbeError, Timing, estimate_cost, probe, timed_part

TIMING = Timing(setup_s=5.0, eval_s=2.0, step_s=3.0, eval_bytes=1000, step_bytes=100, policy_bytes=10**6)
UNTRACED = Tracking(traces_per_step=0)


def config(*overrides: str) -> TrialConfig:
    return load_trial("tiny", overrides)


def test_an_estimate_counts_steps_evaluations_and_kept_policies():
    trial = config("steps=10", "eval_every=4")  # evaluations at 0, 4, 8, 10
    one = estimate_cost(TIMING, trial, [trial], 2, UNTRACED)
    assert (one.seconds, one.bytes, one.copied) == (5 + 10 * 3 + 4 * 2, 10 * 100 + 4 * 1000 + 10**6, 5000)
    assert estimate_cost(TIMING, trial, [trial] * 4, 2).seconds == 2 * one.seconds
    kept = estimate_cost(TIMING, trial, [config("steps=10", "eval_every=4", "save.when=every")], 1)
    assert kept.bytes == 5000 + 4 * 10**6


def test_checkpoints_are_counted_for_the_trials_that_run_at_a_time_and_while_the_next_is_written():
    timing = replace(TIMING, checkpoint_s=1.0, checkpoint_bytes=10**7, checkpoints_held=3)
    trial = config("steps=11", "checkpoint_every=2")  # at 2, 4, 6, 8, 10
    many, one = estimate_cost(timing, trial, [trial] * 5, 2), estimate_cost(timing, trial, [trial], 2)
    assert (many.checkpoints, one.checkpoints) == (2 * 3 * 10**7, 3 * 10**7)
    assert one.seconds == estimate_cost(TIMING, trial, [trial], 2).seconds + 5
    assert one.bytes == estimate_cost(TIMING, trial, [trial], 2).bytes  # none is left at the end
    for overrides, kept in ((["steps=4", "checkpoint_every=2"], 1), (["checkpoint_every=0"], 0)):
        assert estimate_cost(timing, trial, [config(*overrides)], 1).checkpoints == kept * 10**7


def test_mlflow_takes_metrics_traces_and_registered_policies():
    timing = replace(TIMING, eval_values=10, step_values=30, failed_episodes=4)
    trial = config("steps=10", "eval_every=5")  # evaluations at 0, 5, 10
    plain = estimate_cost(timing, trial, [trial], 1, UNTRACED)
    values = 10 * 30 + 3 * 10 + (5 + 10 * 3 + 3 * 2) // 2
    assert plain.database == values * METRIC_BYTES
    traced = estimate_cost(timing, trial, [trial], 1, Tracking(traces_per_step=2))
    assert traced.database == plain.database + (2 * (10 + 1) + 4) * TRACE_BYTES
    registered = estimate_cost(timing, trial, [trial, trial], 1, Tracking(register_policies=True))
    assert registered.copied == 2 * (plain.copied + 10**6)


def test_a_step_is_played_with_its_checkpoint_and_no_further():
    timing = probe(config("steps=10"), "tests.support.cheap_trials:keeps", Resources())
    assert 4_000_000 < timing.checkpoint_bytes < 4_100_000
    assert timing.checkpoint_s > 0
    assert timing.checkpoints_held == KEPT + 1
    assert (timing.step_s, timing.eval_s) == (1.0, 100.0)
    assert timing.policy_bytes == 1001
    assert timing.failed_episodes == 1
    without = probe(config("steps=10", "checkpoint_every=0", "save.when=none"), "tests.support.cheap_trials:keeps",
                    Resources())  # fmt: skip
    assert (without.checkpoint_bytes, without.policy_bytes) == (0, 0)


def test_a_process_that_aborts_after_its_output_was_timed():
    assert probe(config("steps=10"), "tests.support.cheap_trials:ends_badly", Resources()).step_s == 1.0


@pytest.mark.parametrize(
    ("set_ups", "setup_s", "made_s"),
    [((20.0,), 20.0, 0.0), ((900.0, 30.0), 30.0, 870.0), ((200.0, 210.0), 210.0, 0.0)],
)
def test_what_trials_share_is_made_once_and_no_part_of_a_trials_set_up(monkeypatch, set_ups, setup_s, made_s):
    runs = [replace(TIMING, setup_s=s) for s in set_ups]
    monkeypatch.setattr(probing, "_timed", lambda *_: runs.pop(0))
    timing = probe(config(), "tests.support.cheap_trials:learns", Resources())
    assert (timing, runs) == (replace(TIMING, setup_s=setup_s, made_s=made_s), [])


def test_a_language_models_step_is_timed_in_part_and_estimated_as_a_whole():
    trial = load_trial("smollm2", ["data.path=FOLDER", "steps=10", "eval_every=10", "rollout.prompts_per_step=8",
                                   "rollout.group_size=8", "data.eval_questions=60"])  # fmt: skip
    part = timed_part(trial)
    assert (part.rollout.prompts_per_step, part.rollout.group_size, part.data.eval_questions) == (2, 8, 3)
    assert TrialConfig.model_validate_json(part.model_dump_json()) == part
    assert part.model_copy(update={"rollout": trial.rollout, "data": trial.data}) == trial
    assert estimate_cost(TIMING, part, [trial], 1).seconds == 5 + 4 * 10 * 3 + 20 * 2 * 2
    assert timed_part(config("steps=10")) == config("steps=10")


def test_trials_that_play_more_episodes_take_longer():
    trial = config("steps=10", "eval_every=10", "data.eval_questions=20")
    twice = config("steps=10", "eval_every=10", "rollout.group_size=16", "data.eval_questions=40")
    assert estimate_cost(TIMING, trial, [twice], 1).seconds == 5 + 2 * (10 * 3 + 2 * 2)


@pytest.mark.parametrize(
    ("overrides", "resources", "why"),
    [(["environment.backend={kind: openai, base_url: 'http://h/v1', model: m}"], Resources(), "call a service"),
     (["environment.search.retriever={kind: search_r1, url: 'http://h'}"], Resources(), "call a service"),
     ([], Resources(workers=2), "several processes")],
)  # fmt: skip
def test_nothing_is_timed_that_costs_money_or_takes_a_cluster(overrides, resources, why):
    with pytest.raises(ProbeError, match=why):
        probe(config(*overrides), "tests.support.cheap_trials:learns", resources)


def test_a_step_that_fails_or_takes_too_long_is_no_estimate():
    with pytest.raises(ProbeError, match="ArithmeticError: the loss is not finite"):
        probe(config("objective.preset=gspo"), "tests.support.cheap_trials:gspo_fails", Resources())
    with pytest.raises(ProbeError, match="more than 0 s"):
        probe(config(), "tests.support.cheap_trials:slow", Resources(), timeout_s=0.2)
