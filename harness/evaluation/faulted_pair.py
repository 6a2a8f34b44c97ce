"""An episode with an injected fault, and its fault-free counterpart, in either interface.

The agent is a script that searches hop by hop and looks again when a passage lacks the expected value, so that a fault,
its effect and the response to it can be read. Natural language and code ask the same question in the same words; the
twin has the same question, seeds and injector, with injection off. Faults are defined in `harness.env.fault_injection`,
the verdict on the response comes from `harness.env.fault_detection`; `analysis.self_correction` does the statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console

from harness.config import load_trial
from harness.env.fault_detection import read_faults
from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.env.rollout import Environment, rollout
from harness.evaluation.episode_console import EpisodeConsole
from harness.operators import Role
from harness.operators.operator_services import world_knowledge
from harness.policy.load import shipped_chat
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.scripted_agents import ScriptedEngine, spoken
from harness.training.warm_start.world_agents import Habits, agent
from harness.types import Question, Trajectory


def faulted_pair(interface: str, kind: str, seed: int = 0) -> tuple[Trajectory, Trajectory] | None:
    """The first episode over the world's test questions that `kind` strikes, and its twin; None if there is none."""
    config = load_trial("tiny", ["environment.pool=full", f"environment.interface={interface}"])
    data, chat = load_trial_data(config, training=False), shipped_chat()
    standard = factory.environment(config, chat, data)
    plan = FaultPlan((kind,), 1.0, seed, positions=(0, 1))
    for question in (q for suite in ("world_chain", "world_longtail") for q in data.evaluation[suite]):
        with_fault, without = (
            _play(replace(standard, operators=_injected(standard, p, data.decoys)), question, kind)
            for p in (plan, plan.twin())
        )
        if any(reading.exposed for reading in read_faults(with_fault)):
            return with_fault, without
    return None


def _injected(standard: Environment, plan: FaultPlan, titles: Sequence[str]) -> FaultInjector:
    return FaultInjector(standard.operators, plan, world_knowledge(), titles)


def _play(environment: Environment, question: Question, kind: str) -> Trajectory:
    careful = Habits(expert=1.0, review=1.0, revise=0.4, redo=1.0)
    habits = Habits() if Role.RETRIEVES in FAULTS[kind].roles else careful
    script = agent(question, environment.operators.pool, np.random.default_rng(0), habits)
    engine = ScriptedEngine(environment.chat, [spoken(script, environment.interface)])
    return rollout(engine, environment, [question], [0], 0.0)[0]


def show_episode(console: Console, episode: Trajectory) -> None:
    """Print question, turns, injected faults and reward."""
    show = EpisodeConsole(console)
    show.question(episode.question.text, [])
    for turn in episode.turns:
        show.policy_turn(turn.parsed)
        show.environment_turn(turn)
    show.outcome(episode, episode.question.answers, sum(t.generate_s + t.operate_s for t in episode.turns))
