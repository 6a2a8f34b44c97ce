"""Episodes of the shipped start policy resumed at every turn: the audit that a state holds all of an episode."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.config import TrialConfig, load_trial
from harness.engines.base import Engine
from harness.env.fault_injection import FAULTS
from harness.env.rollout import resume, rollout
from harness.env.states import State
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.start_policy import base_policy
from harness.types import Trajectory

FAULTED = f"environment.faults={{kinds: [{', '.join(FAULTS)}], positions: null, train_rate: 0.5, eval_rate: 0.0}}"


def settings(interface: str) -> TrialConfig:
    """The start policy of the code interface is not shipped: a random one writes what is warned of."""
    random = ["policy.init=random"] if interface == "code" else []
    limits = ["environment.max_turns=6", "environment.max_turn_tokens=160", "data.eval_questions=4"]
    suites = "data.eval_suites=[world_single, world_compose, world_chain]"
    return load_trial(
        "tiny", [f"environment.interface={interface}", "environment.pool=full", FAULTED, suites, *limits, *random]
    )


@pytest.mark.slow
@pytest.mark.parametrize("interface", ["natural", "code"])
def test_a_policys_episode_is_the_same_from_each_of_its_states(interface: str) -> None:
    config = settings(interface)
    data, policy = load_trial_data(config), base_policy(config)
    environment = factory.with_training_faults(config, factory.environment(config, policy.chat, data), data)
    engine: Engine = factory.engine(config, policy)
    questions = [q for asked in data.evaluation.values() for q in asked]
    episodes = rollout(engine, environment, questions, range(len(questions)), 1.0)
    if interface == "natural":
        assert any(t.faults for e in episodes for t in e.turns)
    assert sum(len(e.turns) > 1 for e in episodes) >= 5
    starts = [(State.of(e, k), e) for e in episodes for k in range(len(e.turns))]
    again = resume(engine, environment, [s for s, _ in starts], [e.sample_seed for _, e in starts], 1.0)
    for resumed, (state, episode) in zip(again, starts, strict=True):
        assert _unrounded(resumed) == _unrounded(episode)
        assert resumed.turns[: len(state.turns)] == state.turns
        # the state's tokens were read at once instead of one by one, which sums in another order
        assert resumed.sampled_logprobs == pytest.approx(episode.sampled_logprobs, abs=1e-3)


def _unrounded(episode: Trajectory) -> Trajectory:
    """The episode without its log-probabilities."""
    turns = tuple(replace(t, logprobs=(0.0,) * len(t.tokens)) for t in episode.turns)
    return replace(episode, turns=turns)
