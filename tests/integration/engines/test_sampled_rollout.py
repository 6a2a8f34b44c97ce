"""Episodes of a sampled policy: randomness by seed alone."""

from __future__ import annotations

from harness.engines.base import Engine
from harness.engines.builtin import BuiltinEngine
from harness.env.rollout import rollout
from harness.env.rollout_groups import rollout_groups
from harness.policy.tiny import new_model
from tests.support.episodes import chat, question
from tests.unit.env.test_rollout import Echo, environment


def sampled_engine() -> Engine:
    return BuiltinEngine(new_model(len(chat().tokenizer), hidden=32, layers=2, heads=2), capacity=600)


def test_equal_seeds_give_equal_episodes_and_others_differ_even_within_a_group() -> None:
    settings_ = environment(Echo(), max_turns=3, max_turn_tokens=20)
    asked = [question(i) for i in range(3)]

    def tokens(seed: tuple[int, ...]) -> list[list[list[int]]]:
        groups = rollout_groups(sampled_engine(), settings_, asked, 4, seed, 1.0)
        return [[t.token_ids.tolist() for t in g.trajectories] for g in groups]

    first = tokens((7, 1))
    assert first == tokens((7, 1))
    assert first != tokens((8, 1))
    assert first != tokens((7, 2))
    assert all(len({tuple(t) for t in group}) == 4 for group in first)


def test_an_episode_does_not_depend_on_its_batch() -> None:
    settings_ = environment(Echo(), max_turns=3, max_turn_tokens=20)
    asked = [question(i) for i in range(5)]
    together = rollout(sampled_engine(), settings_, asked, range(5), 1.0)
    (alone,) = rollout(sampled_engine(), settings_, asked[3:4], [3], 1.0)
    assert alone.token_ids.tolist() == together[3].token_ids.tolist()
