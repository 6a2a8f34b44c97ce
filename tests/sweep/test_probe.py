"""What a dry run's estimate is made of."""

from __future__ import annotations

import pytest

from harness.config import TrialConfig, load_trial
from harness.config.sweepfile import Resources
from harness.driver.probe import Estimate, ProbeError, Timing, estimate, probe

TIMING = Timing(setup_s=5.0, eval_s=2.0, step_s=3.0, eval_bytes=1000, step_bytes=100, policy_bytes=10**6)


def config(*overrides: str) -> TrialConfig:
    return load_trial("tiny", overrides)


def test_an_estimate_counts_steps_evaluations_and_kept_policies():
    trial = config("steps=10", "eval_every=4")  # evaluations at 0, 4, 8, 10
    one = estimate(TIMING, trial, [trial], 2)
    assert one == Estimate(seconds=5 + 10 * 3 + 4 * 2, bytes=10 * 100 + 4 * 1000 + 10**6, copied=5000)
    assert estimate(TIMING, trial, [trial] * 4, 2).seconds == 2 * one.seconds
    kept = estimate(TIMING, trial, [config("steps=10", "eval_every=4", "save.when=every")], 1)
    assert kept.bytes == 5000 + 3 * 10**6


def test_trials_that_play_more_episodes_take_longer():
    trial = config("steps=10", "eval_every=10")
    twice = config("steps=10", "eval_every=10", "rollout.group_size=16", "data.eval_questions=40")
    assert estimate(TIMING, trial, [twice], 1).seconds == 5 + 2 * (10 * 3 + 2 * 2)


@pytest.mark.parametrize(
    ("overrides", "resources", "why"),
    [(["environment.backend={kind: openai, base_url: 'http://h/v1', model: m}"], Resources(), "call a service"),
     (["environment.search.retriever={kind: search_r1, url: 'http://h'}"], Resources(), "call a service"),
     ([], Resources(workers=2), "several processes")],
)  # fmt: skip
def test_nothing_is_timed_that_costs_money_or_takes_a_cluster(overrides, resources, why):
    with pytest.raises(ProbeError, match=why):
        probe(config(*overrides), "tests.sweep.cheap_trials:learns", resources)


def test_a_step_that_fails_or_takes_too_long_is_no_estimate():
    with pytest.raises(ProbeError, match="ArithmeticError: the loss is not finite"):
        probe(config("objective.preset=gspo"), "tests.sweep.cheap_trials:gspo_fails", Resources())
    with pytest.raises(ProbeError, match="more than 0 s"):
        probe(config(), "tests.sweep.cheap_trials:slow", Resources(), patience_s=0.2)
