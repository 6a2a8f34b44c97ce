"""Estimators of the advantage axis, scored on the episodes of a policy whose values are known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.config import load_trial
from harness.config.schema import Objective
from harness.credit.axis_scores import ORACLE, RANDOM, score_estimators, unit_advantages
from harness.credit.two_pass import StateValue
from harness.credit.unit_credit import UnitCredit, unit_credit
from harness.env.rollout import rollout
from harness.types import Group
from tests.support.episodes import question
from tests.support.forked_policy import chance_engine, chance_environment, true_value

NAMES = ("grpo", "gsspo", "rloo", "anchor_telescoped")


def objective(preset: str, *changes: str) -> Objective:
    return load_trial("tiny", [f"objective.preset={preset}", *changes]).objective


def played(n_groups: int, size: int = 8) -> list[Group]:
    asked = [question(i) for i in range(n_groups) for _ in range(size)]
    episodes = rollout(chance_engine(), chance_environment(), asked, range(len(asked)), 1.0)
    return [Group(question(i), tuple(episodes[i * size : (i + 1) * size])) for i in range(n_groups)]


def true_credits(groups: list[Group]) -> list[UnitCredit]:
    found = []
    for episode in (t for g in groups for t in g.trajectories):
        values = [true_value(k) for k in range(len(episode.turns))]
        found.append(unit_credit([StateValue(v, 0.0, (v, v), 8) for v in values], episode.reward.total))
    return found


def test_a_trajectorys_advantage_is_that_of_each_of_its_units() -> None:
    groups = played(3)
    advantage = unit_advantages(groups, objective("grpo"), seed=0)
    place = 0
    for group in groups:
        rewards = np.array([t.reward.total for t in group.trajectories])
        z = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
        for episode, expected in zip(group.trajectories, z, strict=True):
            units = advantage[place : place + len(episode.turns)]
            assert units == pytest.approx([expected] * len(episode.turns), abs=1e-9)
            place += len(episode.turns)
    assert place == len(advantage)


def test_anchor_credit_of_a_unit_is_the_difference_of_mean_returns_of_the_states_around_it() -> None:
    groups = played(1, size=30)
    (group,) = groups
    advantage = unit_advantages(groups, objective("anchor_telescoped", "objective.credit.scale=none"), seed=0)
    # all searches return the same text: a state is whether anything has been read
    unread = np.mean([t.reward.total for t in group.trajectories])
    read = np.mean([t.reward.total for t in group.trajectories for _ in t.turns[1:]])
    expected = []
    for episode in group.trajectories:
        k = len(episode.turns)
        values = [unread, *[read] * (k - 1), episode.reward.total]
        expected += list(np.diff(values))
    assert advantage == pytest.approx(expected, abs=1e-9)


def test_estimators_lie_between_the_rails_and_known_credit_is_wholly_efficient() -> None:
    groups = played(20)
    shuffled = objective("anchor_telescoped", "objective.credit_shuffle=1.0")
    objectives = {name: objective(name) for name in NAMES} | {"placebo": shuffled}
    scores = score_estimators(groups, true_credits(groups), objectives, seed=1).set_index("estimator")
    assert list(scores.index) == [*NAMES, "placebo", RANDOM, ORACLE]
    assert scores.loc[ORACLE, "efficiency"] == pytest.approx(1.0)  # these forks have no noise
    assert scores.loc["grpo", "efficiency"] == pytest.approx(scores.loc["gsspo", "efficiency"])
    assert scores.loc["anchor_telescoped", "efficiency"] > scores.loc["grpo", "efficiency"] + 0.1
    assert scores.loc[["placebo", RANDOM], "efficiency"].max() < 0.1
    inside = scores.drop(index=ORACLE)
    assert (inside["low"] <= inside["efficiency"]).all()
    assert (inside["efficiency"] <= inside["high"]).all()
    assert scores.loc["anchor_telescoped", "wrong_sign"] < scores.loc[RANDOM, "wrong_sign"]
