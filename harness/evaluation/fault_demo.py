"""Demo: an episode with an injected fault beside its fault-free counterpart, in each interface.

    python -m harness.evaluation.fault_demo [kind]

The agent is a script that searches hop by hop and looks again when a passage lacks the expected value, so that a fault,
its effect and the response to it can be read. Natural language and code ask the same question in the same words; the
twin has the same question, seeds and injector, with injection off. Faults are defined in `harness.env.fault_injection`,
the verdict on the response comes from `harness.env.fault_detection`; `analysis.self_correction` does the statistics.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console

from harness.config import load_trial
from harness.env.fault_detection import read_faults
from harness.env.fault_injection import FAULTS, FaultInjector, FaultPlan
from harness.env.interfaces import INTERFACES
from harness.env.rollout import Environment, rollout
from harness.evaluation.episode_console import EpisodeConsole
from harness.evaluation.play import any_chat
from harness.operators import Role
from harness.operators.operator_services import world_knowledge
from harness.paths import command
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.scripted_agents import ScriptedEngine, spoken, world_scripts
from harness.types import Question, Trajectory


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=command("fault-demo", "harness.evaluation.fault_demo"), description=__doc__)
    parser.add_argument("kind", nargs="?", default="stale_fact", choices=list(FAULTS), help="default: stale_fact")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    found = False
    for interface in INTERFACES:
        pair = faulted_pair(interface, options.kind, options.seed)
        if pair is None:
            continue
        found = True
        for title, episode in zip(("with the fault", "its twin, without"), pair, strict=True):
            console.rule(f"{interface} interface, {title}")
            show_episode(console, episode)
        reading = read_faults(pair[0])[0]
        after = f", right after {reading.turns_to_recovery} turns" if reading.recovered else ", not recovered"
        signals = ", ".join(f"{signal.value} ({turns} later)" for turns, signal in reading.signals) or "none"
        console.print(f"\nfault in turn {reading.turn + 1}: {reading.response}; signals: {signals}{after}\n")
    if not found:
        console.print(f"no question was found on which {options.kind} can strike the script's first calls")
    return 0 if found else 1


def faulted_pair(interface: str, kind: str, seed: int = 0) -> tuple[Trajectory, Trajectory] | None:
    """The first episode over the world's test questions that `kind` strikes, and its twin; None if there is none."""
    config = load_trial("tiny", ["environment.pool=full", f"environment.interface={interface}"])
    data, chat = load_trial_data(config, training=False), any_chat(config)
    standard = factory.environment(config, chat, data)
    plan = FaultPlan((kind,), 1.0, seed, positions=(0, 1))
    for question in (q for suite in ("world_chain", "world_single") for q in data.evaluation[suite]):
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
    strategies = world_scripts().strategies
    strategy = strategies["search" if Role.RETRIEVES in FAULTS[kind].roles else "careful"]
    script = strategy(question, environment.operators.pool, np.random.default_rng(0))
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


if __name__ == "__main__":
    raise SystemExit(main())
