"""Values of the states of episodes, by forks: continuations of each state to its end, by the same policy.

A value is an expectation over the policy's further turns, the operators' further results and, under faults, further
faults. What was drawn before the state is part of it. States of equal keys are one: they share their forks.

A simulated review repeats its verdict in a fork. Revise, ScEnsemble and PromptOptimizer repeat theirs by the episode's
seed alone, so that a fork which asks them again for what they were asked before the state gets another draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.credit.two_pass import StateValue, two_pass_values
from harness.credit.unit_credit import UnitCredit, unit_credit
from harness.engines.base import Engine
from harness.env.rollout import Environment, resume
from harness.env.states import State
from harness.types import Trajectory

FORKS_AT_ONCE = 512
"""Forks of one call of the engine: those of a state share its prefill where they are in one."""


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """`forks` continuations a state on average (see `two_pass_values`), drawn from `seed` at `temperature`."""

    forks: int
    seed: int
    temperature: float


def fork_seeds(seed: int, key: str, count: int) -> list[int]:
    """Seeds of the first `count` forks of the state with this key, each below 2^56.

    They depend on no other state, and more of them begin with the same ones.
    """
    drawn = np.random.SeedSequence([seed, int(key, 16)]).generate_state(count, np.uint64)
    return [int(s >> np.uint64(8)) for s in drawn]


def state_values(
    engine: Engine, environment: Environment, episodes: Sequence[Trajectory], settings: ForkSettings
) -> dict[str, StateValue]:
    """Value of every state before a unit of these episodes, by the state's key.

    Raises ValueError as `two_pass_values` and `resume`.
    """
    states: dict[str, State] = {}
    visits: dict[str, int] = {}
    for episode in episodes:
        for k in range(len(episode.turns)):
            state = State.of(episode, k)
            key = state.key
            states.setdefault(key, state)
            # the units before and after the state take its value; nothing is before the first
            visits[key] = visits.get(key, 0) + (2 if k else 1)
    keys = list(states)

    def play(pairs: Sequence[tuple[int, int]]) -> list[float]:
        most = max(number for _, number in pairs) + 1
        seeds = {index: fork_seeds(settings.seed, keys[index], most) for index in {index for index, _ in pairs}}
        returns: list[float] = []
        for start in range(0, len(pairs), FORKS_AT_ONCE):
            part = pairs[start : start + FORKS_AT_ONCE]
            starts, drawn = [states[keys[i]] for i, _ in part], [seeds[i][number] for i, number in part]
            forks = resume(engine, environment, starts, drawn, settings.temperature, forked=True)
            returns += [fork.reward.total for fork in forks]
        return returns

    return dict(zip(keys, two_pass_values(play, [visits[k] for k in keys], settings.forks), strict=True))


def episode_credit(episode: Trajectory, values: Mapping[str, StateValue]) -> UnitCredit:
    """Credit of an episode's units by the values of its states, of `state_values`."""
    states = [values[State.of(episode, k).key] for k in range(len(episode.turns))]
    return unit_credit(states, episode.reward.total)
