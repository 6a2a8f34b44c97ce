"""What operators are worth: EM, calls and turns of scripted agents on the offline world, by suite, without any model.

    python -m harness.evaluation.worth [--questions 100] [--call-cost 0.03]

The agents share one skill (reading passages by rule, without the answer key) and differ in habits. The table says what
a policy can gain by each decision, so that a study of a decision can be read: what is worth nothing cannot be learnt.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import load_trial
from harness.env.diagnostics import operators_called
from harness.env.environment_builder import with_faults
from harness.env.fault_injection import FaultPlan
from harness.env.rollout import rollout
from harness.operators.operator_services import world_knowledge
from harness.paths import command
from harness.policy.load import shipped_chat
from harness.tasks.world import SUITES
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.scripted_agents import ScriptedEngine, spoken
from harness.training.warm_start.world_agents import Habits, agent

MISREADS = 0.2
"""Share of passages that the agents named `misreading` read wrong, as small policies do."""
FAULT_RATE = 0.5
FAULT_KINDS = ("empty_result", "timeout")
"""Faults that leave a search without a result: what a retry can recover from."""

AGENTS: Mapping[str, Habits] = {
    "from memory": Habits(lazy=1),
    "ask the expert": Habits(expert=1),
    "three answers, one chosen": Habits(vote=1),
    "one search": Habits(stop=1),
    "a search a hop": Habits(),
    "ask, review, search if doubted": Habits(expert=1, review=1, redo=1),
    "ask, review, revise if doubted": Habits(expert=1, review=1, revise=1),
    "the same, three rounds": Habits(expert=1, review=1, revise=1, rounds=3),
    "a search a hop, review all, revise if doubted": Habits(review=1, revise=1),
    "a search a hop, review and revise all": Habits(review=1, revise=1, revise_always=True),
    "misreading": Habits(misreads=MISREADS),
    "misreading, review all, revise if doubted": Habits(misreads=MISREADS, review=1, revise=1),
    "misreading, review where unsure": Habits(misreads=MISREADS, selective=True, revise=1),
    "oracle reader": Habits(oracle=True),
}
UNDER_FAULTS: Mapping[str, Habits] = {
    "no retry": Habits(retries=0),
    "retry up to three times": Habits(retries=3),
}


@dataclass(frozen=True, slots=True)
class Worth:
    """Mean over the questions of each suite (each suite counts the same); `em` by suite, calls and turns an episode."""

    em: Mapping[str, float]
    calls: float
    turns: float

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.em.values())))


def worth(
    habits: Habits,
    questions: int,
    suites: Sequence[str] = SUITES,
    *,
    pool: str = "full",
    interface: str = "natural",
    faults: float = 0.0,
    seed: int = 0,
) -> Worth:
    """Play the agent on the first test questions of each suite, within the limits of the profile `tiny`."""
    config = load_trial(
        "tiny",
        [f"environment.pool={pool}", f"environment.interface={interface}", f"data.eval_questions={questions}",
         f"data.eval_suites=[{','.join(suites)}]"],
    )  # fmt: skip
    data = load_trial_data(config, training=False)
    environment = factory.environment(config, shipped_chat(), data)
    if faults:
        plan = FaultPlan(FAULT_KINDS, faults, seed)
        environment = with_faults(environment, plan, world_knowledge(), data.decoys)
    rng = np.random.default_rng(seed)
    em, calls, turns = {}, [], []
    for suite, asked in data.evaluation.items():
        scripts = [spoken(agent(q, environment.operators.pool, rng, habits), environment.interface) for q in asked]
        seeds = [int(s) for s in rng.integers(2**31, size=len(asked))]
        played = rollout(ScriptedEngine(environment.chat, scripts), environment, asked, seeds, 0.0)
        em[suite] = float(np.mean([t.reward.em for t in played]))
        calls.append(np.mean([sum(len(operators_called(turn)) for turn in t.turns) for t in played]))
        turns.append(np.mean([len(t.turns) for t in played]))
    return Worth(em, float(np.mean(calls)), float(np.mean(turns)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=command("worth", "harness.evaluation.worth"), description=__doc__)
    parser.add_argument("--questions", type=int, default=100, help="a suite (default 100)")
    parser.add_argument("--call-cost", type=float, default=0.0, help="price of a call in points of reward")
    parser.add_argument("--interface", choices=("natural", "code"), default="natural")
    options = parser.parse_args(arguments)
    columns = [s.removeprefix("world_") for s in SUITES]
    print(f"{'':46}" + "".join(f"{c:>10}" for c in columns) + f"{'EM':>8}{'calls':>7}{'turns':>7}{'net':>8}")
    for title, agents, faults in (("", AGENTS, 0.0), (f"faults at rate {FAULT_RATE}:", UNDER_FAULTS, FAULT_RATE)):
        if title:
            print(title)
        for name, habits in agents.items():
            w = worth(habits, options.questions, interface=options.interface, faults=faults)
            shown = "".join(f"{value:>10.2f}" for value in w.em.values())
            net = w.mean - options.call_cost * w.calls
            print(f"{name:46}{shown}{w.mean:>8.3f}{w.calls:>7.1f}{w.turns:>7.1f}{net:>8.3f}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
