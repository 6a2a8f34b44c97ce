"""Warm start: a policy that does not know the protocol imitates scripted episodes before RL begins.

The result depends on the settings and the training questions, not on a trial's seed: every arm and seed of a sweep
starts from the same policy. It is computed once and kept in a cache; trials that need it at the same time wait.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from harness.env.rollout import Environment, rollout
from harness.policy.load import Policy, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.training.warm_start.imitation import imitate
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine, imitated, malformed, spoken
from harness.types import Question

WARM_START_SEED = 41
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
    cache: Path,
    key: str,
) -> Policy:
    """`policy` after one pass over `episodes` scripted episodes; with `lora`, trained through adapters then merged.

    `titles` maps the ids in `Question.supporting` to what a script searches for. `key` names the result in `cache`:
    it must change with everything the result depends on.
    """
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"warm-{key}.safetensors"
    with FileLock(str(file) + ".lock"):
        trained = with_lora(policy, lora, WARM_START_SEED) if lora else policy
        if file.exists():
            trained.model.load_state_dict(load_file(file), strict=False)
        else:
            rng = np.random.default_rng(WARM_START_SEED)
            chosen = [questions[int(i)] for i in rng.choice(len(questions), episodes)]
            scripts: list[Script] = [
                malformed(
                    spoken(imitated(q, environment.operators.pool, titles, rng), environment.interface), MALFORMED, rng
                )
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
                seed=WARM_START_SEED,
            )
            weights = {n: p.detach().contiguous() for n, p in trained.model.named_parameters() if p.requires_grad}
            staging = file.with_suffix(f".{os.getpid()}.tmp")
            save_file(weights, staging)
            os.replace(staging, file)
    if lora:
        with torch.no_grad():
            return Policy(trained.model.merge_and_unload(), policy.chat)  # type: ignore[operator]
    return trained
