"""Scripted episodes meet the real operators, parser and reward; renaming keeps them consistent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.prompts.system import system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import SearchSettings, Toolbox
from harness.operators.operator_services import world_expert, world_retriever
from harness.protocol import PUBLISHED_REWARD, parse_turn
from harness.tasks.world import RELATIONS, load_world
from harness.training.warm_start.name_randomization import Renamer
from harness.training.warm_start.scripted_agents import ScriptedEngine, Scripts, look_up, malformed, turn
from harness.types import Question, Trajectory
from tests.support.episodes import chat

NOUNS = {k: r.noun for k, r in RELATIONS.items()}
QUESTIONS = 40

COMPACT = NaturalInterface(compact=True)


def environment(pool: str = "full") -> Environment:
    tools = Toolbox(
        pool, world_expert(), world_retriever(), style="compact", search=SearchSettings(2, 220), observation_chars=600
    )
    budgets = Budgets(20, 21, 600, 6000)
    return Environment(system_prompt(pool, "compact", COMPACT), chat(), tools, budgets, PUBLISHED_REWARD, COMPACT)


def play(strategy: str, spoil: float = 0.0) -> list[Trajectory]:
    scripts = Scripts(NOUNS, lambda q, rng: "nothing")
    env, rng = environment(), np.random.default_rng(0)
    asked = list(load_world().split("train", "world_compose")[:QUESTIONS])
    spoken = [malformed(scripts.strategies[strategy](q, env.operators.pool, rng), spoil, rng) for q in asked]
    return rollout(ScriptedEngine(chat(), spoken), env, asked, range(len(asked)), 1.0)


def test_searching_hop_by_hop_answers_nearly_every_question_well_formed() -> None:
    episodes = play("search")
    assert all(not e.failures for e in episodes)
    assert np.mean([e.reward.em for e in episodes]) > 0.9


@pytest.mark.parametrize("strategy", ["lazy", "hasty", "credulous"])
def test_bad_strategies_are_well_formed_and_worse(strategy: str) -> None:
    episodes = play(strategy)
    assert all(not e.failures for e in episodes)
    assert np.mean([e.reward.em for e in episodes]) < 0.75


@pytest.mark.parametrize("strategy", ["careful", "voting"])
def test_longer_workflows_are_well_formed(strategy: str) -> None:
    episodes = play(strategy)
    assert all(not e.failures for e in episodes)
    assert np.mean([sum(1 for _ in e.calls) for e in episodes]) >= 2


def test_a_spoilt_turn_is_warned_about_and_said_again_properly() -> None:
    episodes = play("search", spoil=1.0)
    assert all(e.failures for e in episodes)
    assert np.mean([e.reward.em for e in episodes]) > 0.9  # right in the end, at the format penalty
    assert {r.operator for e in episodes for r in e.calls} >= {"WarningOp", "Search"}


def test_looking_up_a_real_question_asks_for_supporting_titles_until_the_answer_is_seen() -> None:
    question = Question("q", "Who wrote it?", ("Ada",), "nq", 2, supporting=("1", "2", "3"))
    script = look_up(question, {"1": "First", "2": "Second", "3": "Third"})
    assert "Search: Who wrote it?" in next(script)
    assert "Search: First" in script.send("<info>nothing</info>")
    assert "Search: Second" in script.send("<info>nothing</info>")
    assert "<answer>Ada</answer>" in script.send("<info>It was ADA.</info>")


@given(st.integers(0, 10_000))
def test_renaming_is_consistent_and_complete(seed: int) -> None:
    rename = Renamer(["Chad", "N'Djamena", "New Chad", "1.9 million"], np.random.default_rng(seed))
    text = rename("New Chad is not Chad. Chad's capital is N'Djamena, of 1.9 million. Chadwick stays.")
    assert "N'Djamena" not in text
    assert text.endswith("Chadwick stays.")
    assert text.startswith(rename("New Chad"))
    assert f"not {rename('Chad')}." in text
    assert rename("1.9 million") in text
    assert rename("1.9 million").endswith(" million")


def test_a_scripted_turn_is_well_formed() -> None:
    assert parse_turn(turn("so", tool="Search: x"), ("Search",)).well_formed
    assert parse_turn(turn("so", answer="x"), ("Search",)).well_formed
