"""Warm start: a policy that does not know the protocol imitates scripted episodes before RL begins.

The result depends on the settings and the training questions, not on a trial's seed: every arm and seed of a sweep
starts from the same policy. It is computed once and kept in a cache; trials that need it at the same time wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from harness.env.rollout import Environment, rollout
from harness.operators.retrieval.artifact_cache import stored
from harness.policy.load import Policy, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.training.warm_start.imitation import imitate
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine, look_up, malformed, spoken
from harness.training.warm_start.world_agents import MEDIOCRE, agent
from harness.types import Question

WARM_START_SEED = 41
WEIGHTS = "weights.safetensors"
MALFORMED = 0.05
"""Share of scripted turns that are spoilt, so that the warm policy has seen a warning and its repair."""


def warm_start(
    policy: Policy,
    environment: Environment,
    questions: Sequence[Question],
    titles: Mapping[str, str],
    *,
    episodes: int,
    learning_rate: float,
    lora: LoraSettings | None,
    tokens_per_update: int,
    tokens_per_microbatch: int,
    autocast: bool,
    seed: int,
    cache: Path,
    key: str,
) -> Policy:
    """`policy` after one pass over `episodes` scripted episodes; with `lora`, trained through adapters then merged.

    `titles` maps the ids in `Question.supporting` to what a script searches for. `key` names the result in `cache`:
    it must change with everything the result depends on. It is made once: other trials wait.
    """
    trained = with_lora(policy, lora, seed) if lora else policy

    def build(staging: Path) -> None:
        rng = np.random.default_rng(seed)
        chosen = [questions[int(i)] for i in rng.choice(len(questions), episodes)]
        scripts: list[Script] = [
            malformed(spoken(_imitated(q, environment, titles, rng), environment.interface), MALFORMED, rng)
            for q in chosen
        ]
        engine = ScriptedEngine(policy.chat, scripts)
        played = rollout(engine, environment, chosen, [int(s) for s in rng.integers(2**31, size=episodes)], 1.0)
        imitate(
            trained.model,
            played,
            learning_rate=learning_rate,
            tokens_per_update=tokens_per_update,
            tokens_per_microbatch=tokens_per_microbatch,
            autocast=autocast,
            seed=seed,
        )
        weights = {n: p.detach().contiguous() for n, p in trained.model.named_parameters() if p.requires_grad}
        save_file(weights, staging / WEIGHTS)

    home = stored(cache / "warm-starts", key, build)
    trained.model.load_state_dict(load_file(home / WEIGHTS), strict=False)
    if lora:
        with torch.no_grad():
            return Policy(trained.model.merge_and_unload(), policy.chat)  # type: ignore[operator]
    return trained


def _imitated(
    question: Question, environment: Environment, titles: Mapping[str, str], rng: np.random.Generator
) -> Script:
    """The mediocre agent's episode where the question's plan is known, else `look_up`."""
    if not question.plan:
        return look_up(question, titles)
    short = environment.interface.compact
    return agent(question, environment.operators.pool, rng, MEDIOCRE, short=short)
