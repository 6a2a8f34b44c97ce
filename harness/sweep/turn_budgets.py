"""Whether turns and episodes fit the limits: measured by playing scripts on a study's longest questions.

A turn that is cut is malformed and never executed: an operator whose call does not fit cannot be studied. Checked for
the tiny policy in the offline world, where plans are known; elsewhere what a call needs is not known before it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.config import Problem, TrialConfig
from harness.config.identity import digest
from harness.config.tree import locate
from harness.config.validation import check_trial
from harness.config.yaml_source import ConfigError, Node
from harness.types import Question

PROBED = 2
"""Questions probed a suite and split: those of most hops, the longest first."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens: the longest turn that calls each operator, or gives `an answer`, and the longest response."""

    turns: Mapping[str, int]
    response: int


def turns_fit(tree: Node) -> list[Problem]:
    """The operators whose calls do not fit `environment.max_turn_tokens`, and whether a whole episode fits."""
    try:
        config = check_trial(tree, ())
    except ConfigError:
        return []  # reported as what it is
    if config.data.source != "world" or config.policy.kind != "tiny":
        return []
    environment = config.environment
    found = _measured(config)
    problems = [
        Problem(
            locate(tree, ("environment", "max_turn_tokens")),
            f"{name} needs up to {tokens} tokens a turn here; max_turn_tokens is {environment.max_turn_tokens}",
        )
        for name, tokens in sorted(found.turns.items())
        if tokens > environment.max_turn_tokens
    ]
    if found.response > environment.max_response_tokens:
        message = f"an episode needs up to {found.response} tokens here; max_response_tokens is "
        place = locate(tree, ("environment", "max_response_tokens"))
        problems.append(Problem(place, f"{message}{environment.max_response_tokens}"))
    return problems


_known: dict[str, Lengths] = {}
"""By what they depend on: the cells of a sweep share them."""


def _measured(config: TrialConfig) -> Lengths:
    dumped = config.model_dump(mode="json")
    environment = {k: v for k, v in dumped["environment"].items() if not k.startswith("max_") and k != "faults"}
    data = {k: dumped["data"][k] for k in ("train_suites", "eval_suites", "eval_split")}
    key = digest({"environment": environment, "data": data})
    if key not in _known:
        _known[key] = lengths(config)
    return _known[key]


def _longest(questions: Sequence[Question]) -> list[Question]:
    return sorted(questions, key=lambda q: (q.hops or 0, len(q.text)), reverse=True)[:PROBED]


def lengths(config: TrialConfig) -> Lengths:
    """Play scripts with every operator of the pool, without limits, on the longest questions of the study."""
    from harness.env.environment_settings import Budgets
    from harness.env.rollout import rollout
    from harness.policy.load import shipped_chat
    from harness.tasks.world import load_world
    from harness.training import factory
    from harness.training.trial_data import load_trial_data
    from harness.training.warm_start.scripted_agents import ScriptedEngine, spoken
    from harness.training.warm_start.world_agents import Habits, agent

    world = load_world()
    suites = {("train", s) for s in config.data.train_suites} | {
        (config.data.eval_split, s) for s in config.data.eval_suites
    }
    questions = [q for split, suite in sorted(suites) for q in _longest(world.split(split, suite))]
    data = load_trial_data(config, training=False)
    chat = shipped_chat()
    standard = factory.environment(config, chat, data)
    unlimited = Budgets(max_calls=100, max_turns=100, max_turn_tokens=10**5, max_response_tokens=10**6)
    thorough = Habits(review=1.0, revise=1.0, revise_always=True, notes=1.0)
    exercises = (  # which between them call every operator, in the longest turns there are
        thorough,
        replace(thorough, refine=1.0),
        replace(thorough, lazy=1.0),
        replace(thorough, expert=1.0),
        replace(thorough, vote=1.0),
        replace(thorough, custom=1.0),
    )
    turns: dict[str, int] = {}
    response = 0
    for environment in (standard, *factory.evaluation_variants(config, standard, data).values()):
        free = replace(environment, budgets=unlimited)
        short, pool = free.interface.compact, free.operators.pool
        for habits in exercises:
            rng = np.random.default_rng(0)
            scripts = [spoken(agent(q, pool, rng, habits, short), free.interface) for q in questions]
            for episode in rollout(ScriptedEngine(chat, scripts), free, questions, [0] * len(questions), 0.0):
                response = max(response, episode.n_tokens - len(episode.prompt_tokens))
                for turn in episode.turns:
                    calls = turn.program_calls or ((turn.result,) if turn.result is not None else ())
                    for name in [c.operator for c in calls] or ["an answer"]:
                        turns[name] = max(turns.get(name, 0), len(turn.tokens))
    return Lengths(turns, response)
