"""Scripted episodes that a start policy learns from: questions, pools, habits, and names replaced by others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.env.environment_settings import Budgets
from harness.env.interfaces import INTERFACES
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.system import system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import SearchSettings, Toolbox
from harness.operators.operator_services import world_expert, world_retriever
from harness.protocol import PUBLISHED_REWARD
from harness.tasks.world import load_world
from harness.training.warm_start.name_randomization import Renamer, numbers_in
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine, malformed, spoken
from harness.training.warm_start.world_agents import Habits, agent
from harness.types import Question, Trajectory

SHORT = ("world_single", "world_alias", "world_longtail", "world_compose", "world_compare", "world_chain")
LONG = ("world_tour", "world_aggregate")


@dataclass(frozen=True)
class RecipePhase:
    """`suites` with their shares; `malformed`: share of malformed turns; `context_weight`: see `imitate`; `renamed`:
    share of episodes whose names are replaced by others."""

    name: str
    episodes: int
    learning_rate: float
    malformed: float
    context_weight: float
    habits: Habits
    suites: Mapping[str, float]
    tokens_per_update: int = 4_000
    renamed: float = 0.7


def suite_shares(short: float) -> dict[str, float]:
    """Questions of few hops take `short` of the episodes; comparisons and aggregates, the hardest, count twice."""
    shares: dict[str, float] = {}
    for suites, share in ((SHORT, short), (LONG, 1 - short)):
        weights = {s: 2 if s in ("world_compare", "world_aggregate") else 1 for s in suites}
        shares |= {s: share * weight / sum(weights.values()) for s, weight in weights.items()}
    return shares


BUDGETS = Budgets(max_calls=20, max_turns=21, max_turn_tokens=160, max_response_tokens=2000)
POOL_SHARES = {"minimal": 0.25, "review": 0.1, "revise": 0.25, "optimizer": 0.1, "full": 0.2, "search_only": 0.1}


def environments(chat: ChatFormat, interface: str, budgets: Budgets = BUDGETS) -> dict[str, Environment]:
    """The environment of each pool in `POOL_SHARES`."""
    search = SearchSettings(top_k=2, snippet_chars=220)
    form = INTERFACES[interface](compact=True)
    return {
        pool: Environment(
            system_prompt(pool, "compact", form),
            chat,
            Toolbox(pool, world_expert(), world_retriever(), style="compact", search=search, observation_chars=600),
            budgets,
            PUBLISHED_REWARD,
            form,
        )
        for pool in POOL_SHARES
    }


def drawn_questions(phase: RecipePhase, rng: np.random.Generator) -> list[Question]:
    """Training questions by the phase's shares of suites."""
    names, shares = zip(*phase.suites.items(), strict=True)
    of_suite = {name: load_world().split("train", name) for name, share in phase.suites.items() if share}
    suites = rng.choice(list(names), phase.episodes, p=list(shares))
    return [of_suite[s][int(rng.integers(len(of_suite[s])))] for s in suites]


def scripted_episodes(
    phase: RecipePhase,
    settings: Mapping[str, Environment],
    questions: Sequence[Question],
    seed: int,
    names: Sequence[str] = (),
) -> list[Trajectory]:
    """Play a script for each question, in a pool drawn by `POOL_SHARES`; a share gets its names replaced."""
    rng = np.random.default_rng(seed)
    pools = rng.choice(list(POOL_SHARES), len(questions), p=list(POOL_SHARES.values()))
    made: list[Trajectory] = []
    for pool, environment in settings.items():
        asked = [q for q, p in zip(questions, pools, strict=True) if p == pool]
        scripts: list[Script] = [
            malformed(
                spoken(agent(q, environment.operators.pool, rng, phase.habits), environment.interface),
                phase.malformed,
                rng,
            )
            for q in asked
        ]
        seeds = [int(s) for s in rng.integers(2**31, size=len(asked))]
        made += rollout(ScriptedEngine(environment.chat, scripts), environment, asked, seeds, temperature=1.0)
    return [
        renamed(t, settings, names, rng) if (i * phase.renamed) % 1 >= 1 - phase.renamed else t
        for i, t in enumerate(made)
    ]


def renamed(
    trajectory: Trajectory, settings: Mapping[str, Environment], words: Sequence[str], rng: np.random.Generator
) -> Trajectory:
    """The same episode about things with other names, of `words`, and other populations in the same order; as it was,
    if the question words its name otherwise."""
    question, environment = trajectory.question, next(iter(settings.values()))
    chat = environment.chat
    if question.plan[0].subject not in question.text:
        return trajectory
    names = [s for step in question.plan for s in (step.subject, step.value)]
    said = [text for t in trajectory.turns for text in (t.parsed.text, t.result.text if t.result else "")]
    rename = Renamer([n for n in names if n[0].isupper()], words, rng, numbers_in(said))
    system = chat.tokenizer.decode(trajectory.prompt_tokens, skip_special_tokens=True)
    system = system.removeprefix("system\n").partition("\nuser\n")[0]
    turns = []
    for turn in trajectory.turns:
        tokens = chat.turn(rename(turn.parsed.text))
        seen: tuple[int, ...] = ()
        if turn.observation_tokens and turn.result is not None:
            text = environment.interface.observation(rename(turn.result.text), trusted=turn.parsed.action is None)
            seen = chat.observation(text, turn_ended=True)
        turns.append(
            replace(turn, tokens=tokens, logprobs=(0.0,) * len(tokens), action_start=0, observation_tokens=seen)
        )
    prompt = chat.prompt(system, rename(question.text))
    return replace(trajectory, prompt_tokens=prompt, turns=tuple(turns))
