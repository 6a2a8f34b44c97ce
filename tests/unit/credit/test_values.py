"""Values of the states of played episodes, against a policy whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.credit.values import ForkSettings, episode_credit, fork_seeds, state_values
from harness.env.rollout import rollout
from harness.env.states import State
from harness.types import Trajectory
from tests.support.episodes import question
from tests.support.forked_policy import chance_engine, chance_environment, true_value


def played(episodes: int, questions: int = 2) -> list[Trajectory]:
    asked = [question(i % questions) for i in range(episodes)]
    return rollout(chance_engine(), chance_environment(), asked, range(episodes), 1.0)


def test_values_are_the_policys_and_errors_cover_them() -> None:
    episodes = played(30)
    values = state_values(chance_engine(), chance_environment(), episodes, ForkSettings(256, 1, 1.0))
    depths = {State.of(e, k).key: k for e in episodes for k in range(len(e.turns))}
    assert depths.keys() == values.keys()
    assert len(values) == 6  # of thirty episodes of up to three turns: the same states of two questions
    for key, value in values.items():
        assert value.error > 0
        assert abs(value.value - true_value(depths[key])) < 4 * value.error


def test_credit_telescopes_to_the_reward_of_each_episode() -> None:
    episodes = played(12)
    values = state_values(chance_engine(), chance_environment(), episodes, ForkSettings(8, 1, 1.0))
    for episode in episodes:
        made = episode_credit(episode, values)
        assert len(made.credit) == len(episode.turns)
        assert made.values[0] == values[State.of(episode, 0).key].value
        assert made.credit.sum() == pytest.approx(episode.reward.total - made.values[0], abs=1e-12)


def test_the_value_of_a_state_does_not_depend_on_the_other_states_of_its_first_pass() -> None:
    """Its forks' seeds are its own; only how many there are in the second pass depends on the others."""
    engine = chance_engine()
    few = played(1, questions=1)
    state_values(engine, chance_environment(), few, ForkSettings(8, 1, 1.0))
    key = State.of(few[0], 0).key
    assert {s // 64 for s in engine.seeds} >= set(fork_seeds(1, key, 4))
    assert fork_seeds(1, key, 4) == fork_seeds(1, key, 9)[:4]


def test_fork_seeds_are_distinct_by_fork_state_and_study_and_fit_a_turns_stream() -> None:
    keys = [State.of(e, k).key for e in played(8) for k in range(len(e.turns))]
    drawn = [s for seed in (0, 1) for key in set(keys) for s in fork_seeds(seed, key, 64)]
    assert len(drawn) == len(set(drawn)) == 2 * len(set(keys)) * 64
    assert max(drawn) * 64 + 63 < 2**62
    assert np.mean(drawn) / 2**56 == pytest.approx(0.5, abs=0.05)


def test_a_study_of_another_seed_draws_other_forks() -> None:
    episodes = played(6)
    first, again, other = (
        state_values(chance_engine(), chance_environment(), episodes, ForkSettings(8, seed, 1.0)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
