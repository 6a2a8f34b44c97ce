"""Scripted episodes meet the real operators, parser and reward in the offline world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.prompts.system import system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import SearchSettings, Toolbox
from harness.operators.operator_services import world_expert, world_retriever
from harness.protocol import PUBLISHED_REWARD
from harness.tasks.world import load_world
from harness.training.warm_start.scripted_agents import ScriptedEngine, malformed
from harness.training.warm_start.world_agents import Habits, agent
from harness.types import Trajectory
from tests.support.episodes import chat

QUESTIONS = 40

COMPACT = NaturalInterface(compact=True)


def environment(pool: str = "full") -> Environment:
    tools = Toolbox(
        pool, world_expert(), world_retriever(), style="compact", search=SearchSettings(2, 220), observation_chars=600
    )
    budgets = Budgets(20, 21, 600, 6000)
    return Environment(system_prompt(pool, "compact", COMPACT), chat(), tools, budgets, PUBLISHED_REWARD, COMPACT)


def play(habits: Habits, spoil: float = 0.0, suite: str = "world_compose", n: int = QUESTIONS) -> list[Trajectory]:
    env, rng = environment(), np.random.default_rng(0)
    asked = list(load_world().split("train", suite)[:n])
    scripts = [malformed(agent(q, env.operators.pool, rng, habits), spoil, rng) for q in asked]
    return rollout(ScriptedEngine(chat(), scripts), env, asked, range(len(asked)), 1.0)


def em(episodes: Sequence[Trajectory]) -> float:
    return float(np.mean([e.reward.em for e in episodes]))


def called(episodes: Sequence[Trajectory], name: str) -> float:
    return float(np.mean([any(r.operator == name and r.failure is None for r in e.calls) for e in episodes]))


@pytest.mark.parametrize("suite", ["world_compose", "world_chain", "world_tour", "world_aggregate", "world_compare"])
def test_searching_hop_by_hop_answers_nearly_every_question_well_formed(suite: str) -> None:
    episodes = play(Habits(notes=0.5), suite=suite)
    assert all(not e.failures for e in episodes)
    assert em(episodes) > 0.9


@pytest.mark.parametrize("habits", [Habits(lazy=1), Habits(stop=1), Habits(expert=1)])
def test_bad_decisions_are_well_formed_and_worse(habits: Habits) -> None:
    episodes = play(habits)
    assert all(not e.failures for e in episodes)
    assert em(episodes) < 0.75


@pytest.mark.parametrize(
    ("habits", "names"),
    [
        (Habits(expert=1, review=1, revise=1), {"AnswerGenerate", "Review", "Revise"}),
        (Habits(vote=1), {"MultiAnswerGenerate", "ScEnsemble"}),
        (Habits(custom=1), {"Custom"}),
        (Habits(refine=1), {"PromptOptimizer"}),
    ],
)
def test_every_operator_is_executed_by_its_short_form(habits: Habits, names: set[str]) -> None:
    episodes = play(habits)
    assert all(not e.failures for e in episodes)
    assert all(called(episodes, name) > 0.1 for name in names)


def test_a_reader_that_does_not_see_the_key_ends_where_its_reading_leads() -> None:
    misread, read, oracle = (play(h) for h in (Habits(misreads=0.5), Habits(), Habits(oracle=True)))
    assert em(misread) < em(read) - 0.2 <= em(oracle) - 0.2


def test_a_spoilt_turn_is_warned_about_and_said_again_properly() -> None:
    episodes = play(Habits(), spoil=1.0)
    assert all(e.failures for e in episodes)
    assert em(episodes) > 0.9  # right in the end, at the format penalty
    assert {r.operator for e in episodes for r in e.calls} >= {"WarningOp", "Search"}
