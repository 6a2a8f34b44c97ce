"""The policy that RL starts from, from a trial's configuration: the base policy, warm-started, with its adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from harness.config import TrialConfig, code_version, digest
from harness.distributed.collective import ALONE, Collective
from harness.env.prompts.own_perturbations import own_parts
from harness.env.rollout import Environment
from harness.paths import cache_folder
from harness.policy.load import DTYPES, Policy, load_policy, recompute_activations, with_lora
from harness.training.trial_data import TrialData
from harness.training.warm_start.warm_start import WARM_START_SEED, warm_start
from harness.types import Question
from harness.types.own_code import source_digest

SAMPLED = 1 << 14
"""Numbers of each parameter that identify a model."""


def base_policy(config: TrialConfig, workers: Collective = ALONE) -> Policy:
    """The base policy, without adapters, on the GPU if this process was given one.

    What several `workers` will share stays in main memory, from where it is sharded: one GPU need not hold it. Only a
    warm start, which trains it whole, takes it there.

    Fresh weights come from the trial's seed; those that a warm start will train, from one seed for all trials, because
    its result is kept and shared. `policy.start_seed` takes the place of either.
    """
    c = config.policy
    seed = c.start_seed
    if seed is None:
        seed = config.seed if c.warm_start == "none" else WARM_START_SEED
    start = c.start or f"{config.environment.interface}-0"
    made = load_policy(c.kind, c.path, init=c.init, dtype=DTYPES[c.dtype], seed=seed, cache=cache_folder(), start=start)
    whole = workers.size == 1 or c.warm_start != "none"
    made.model.to("cuda" if whole and torch.cuda.is_available() else "cpu")
    return made


def start_policy(config: TrialConfig, base: Policy, environment: Environment, data: TrialData) -> Policy:
    """The policy RL starts from: warm-started if asked for, then with its adapters if it has any."""
    c = config.policy
    resolved = config.model_dump(mode="json")
    start = base
    if c.warm_start == "imitation":
        prompted = {name: value for name, value in resolved["environment"].items() if name != "faults"}
        prompted["perturbations"] = {"train": prompted["perturbations"]["train"]}
        depends_on = {
            "policy": resolved["policy"],
            "data": {name: resolved["data"][name] for name in ("source", "path", "train_suites")},
            "environment": prompted,
            "autocast": config.update.autocast,
            "content": [weights_digest(base.model), questions_digest(data.train, data.titles)],
            "code": code_version(),
        }
        if own := own_parts(config.environment.perturbations.train):
            depends_on["own"] = [source_digest(name) for name in own]
        start = warm_start(
            base,
            environment,
            data.train,
            data.titles,
            episodes=c.warm_start_episodes,
            learning_rate=c.warm_start_lr,
            lora=c.lora,
            tokens_per_update=c.warm_start_tokens,
            tokens_per_microbatch=config.update.tokens_per_microbatch,
            autocast=config.update.autocast,
            seed=WARM_START_SEED if c.start_seed is None else c.start_seed,
            cache=cache_folder(),
            key=digest(depends_on)[:16],
        )
    policy = with_lora(start, c.lora, config.seed) if c.lora else start
    if config.update.gradient_checkpointing:
        recompute_activations(policy)
    return policy


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, shapes and up to `SAMPLED` evenly spaced numbers of each parameter, in hex: a path may come
    to hold another model."""
    content = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        numbers = flat[:: max(1, len(flat) // SAMPLED)].float().cpu().numpy()
        content.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode() + numbers.tobytes())
    return content.hexdigest()


def questions_digest(questions: Sequence[Question], titles: Mapping[str, str]) -> str:
    """Digest of what scripts are written from: a folder may come to hold other questions."""
    return digest([[q.id, q.text, q.answers, [titles.get(key) for key in q.supporting]] for q in questions])
