"""One training trial: Workflow-R1's algorithm from top to bottom.

    questions → groups of multi-turn rollouts → rewards → group-relative advantages → several clipped updates → repeat

Everything random follows from `config.seed`: the order of the questions, every sampled token, every operator's draw.
Results go to a sink; what the sink does with them (journal, tests) is not known here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from harness.config import TrialConfig
from harness.distributed.collective import ALONE, Collective
from harness.env.diagnostics import RunningSignatures, episode_metrics, group_metrics, notable
from harness.env.rollout import rollout_groups
from harness.objectives.clip import make_clip
from harness.policy.load import Policy, reference_of
from harness.policy.sharding import shard, unsharded
from harness.policy.state import restore_training, training_state
from harness.training import factory
from harness.training.eval_cache import played_once, start_key
from harness.training.evaluation import evaluate_all
from harness.training.update import Reference, policy_update
from harness.types import Question, Trajectory


class TrialSink(Protocol):
    """Where a trial's results go."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, kind: str, **fields: Any) -> None:
        """What a reader of the run would look for: `policy_kept` and kinds of `signatures.NOTABLE`, with their step."""

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None: ...

    def policy(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep a policy: `write` fills the folder it is given."""

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep what training goes on from after a kill."""

    def resume(self) -> Mapping[str, Any] | None:
        """The state to go on from; None: begin."""


def run_trial(config: TrialConfig, sink: TrialSink, workers: Collective = ALONE) -> dict[str, float]:
    """Train by `config`, evaluating before the first step, every `eval_every` steps and at the end.

    Returns the last evaluation's metrics. Metrics of step s describe the policy after s updates of the batch.
    Several `workers` each call this with the same configuration: they share episodes and weights, and all come to the
    same numbers; one of them should keep what its sink is given.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    base = factory.base_policy(config, workers)
    data = factory.data(config)
    environment = factory.environment(config, base.chat, data)
    variants = factory.evaluation_variants(config, environment, data)
    training = factory.training_environment(config, environment)
    policy = factory.start_policy(config, base, training, data)
    training = factory.with_training_faults(config, training, data)
    clip = make_clip(config.objective.clip)
    model, reference = _model_and_reference(policy, config, workers)
    optimizer = torch.optim.AdamW(
        policy.trainable,
        lr=config.update.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.update.weight_decay,
        fused=True,
    )
    running = RunningSignatures()
    final: dict[str, float] = {}
    first, asked_before = 0, 0
    saved = restore_training(sink.resume(), policy.model, optimizer, workers)
    if saved is not None:
        clip, running = clip.restore(saved["clip"]), RunningSignatures.from_dict(saved["running"])
        first, asked_before = saved["step"] + 1, saved["questions"]
    engine = factory.engine(config, policy)  # last: it takes its share of a GPU that by now holds parts only
    questions = question_order(data.train, config.seed, asked_before)
    for step in range(first, config.steps + 1):
        begun = time.perf_counter()
        values: dict[str, float] = {}
        if step > 0:
            asked = [next(questions) for _ in range(config.rollout.prompts_per_step)]
            groups = rollout_groups(
                engine,
                training,
                asked,
                config.rollout.group_size,
                (config.seed, step),
                config.rollout.temperature,
                workers,
            )
            engine.sleep()
            rolled = time.perf_counter()
            result = policy_update(model, optimizer, groups, clip, config, reference, workers)
            clip = result.clip
            engine.load_weights(policy.model)
            trajectories = [t for g in groups for t in g.trajectories]
            values |= {f"train/{k}": v for k, v in (episode_metrics(trajectories) | group_metrics(groups)).items()}
            values |= result.metrics
            # the largest of the step's updates: a spike in one of four would drown in their mean
            running, sudden = running.observe(values["train/reward_variance"], values["update/grad_norm_max"])
            values |= sudden
            values |= {
                "time/rollout_s": rolled - begun,
                "time/update_s": time.perf_counter() - rolled,
                "time/tokens_per_s": sum(t.n_tokens for t in trajectories) / (time.perf_counter() - begun),
            }
            sink.episodes(step, "train", trajectories)
            for kind in notable(values):
                sink.event(kind, step=step)
        values["time/step_s"] = time.perf_counter() - begun
        if step % config.eval_every == 0 or step == config.steps:
            begun = time.perf_counter()
            play = partial(
                evaluate_all,
                engine,
                environment,
                variants,
                data.evaluation,
                config.data.eval_samples,
                config.rollout.temperature,
                config.data.eval_at_once,
                workers,
            )
            done, further = played_once(start_key(config), play) if step == 0 and workers.size == 1 else play()
            final = done.metrics | further.metrics
            values |= final | {"time/eval_s": time.perf_counter() - begun}
            sink.episodes(step, "eval", done.greedy)
            if done.sampled:
                sink.episodes(step, "eval_sampled", done.sampled)
            for split, episodes in further.episodes.items():
                sink.episodes(step, split, episodes)
        if factory.saves_at(config, step):
            engine.sleep()  # whole weights pass through the GPU
            if (whole := unsharded(policy, workers)) is not None:
                sink.policy(step, partial(factory.save_policy, config, whole, step))
            sink.event("policy_kept", step=step)
            if step < config.steps:
                engine.load_weights(policy.model)
        sink.metrics(step, values)
        if factory.checkpoints_at(config, step):
            asked_before = step * config.rollout.prompts_per_step
            state = training_state(policy.model, optimizer, workers)
            state |= {"clip": clip.state(), "running": running.to_dict()}
            sink.checkpoint(step, {**state, "step": step, "questions": asked_before})
    return final


def _model_and_reference(
    policy: Policy, config: TrialConfig, workers: Collective
) -> tuple[nn.Module, Reference | None]:
    """The policy's model as the update runs it, and the policy the KL term keeps it near."""
    temperature, autocast, with_kl = config.rollout.temperature, config.update.autocast, config.objective.kl_weight > 0
    if workers.size > 1:
        return shard(policy, temperature, autocast, with_reference=with_kl)
    if with_kl:
        return policy.model, reference_of(policy, temperature, autocast)
    return policy.model, None


def question_order(questions: Sequence[Question], seed: int, skip: int = 0) -> Iterator[Question]:
    """An endless iterator: every question once an epoch, in an order drawn anew each epoch; `skip` were asked."""
    rng = np.random.default_rng([seed, 17])
    orders = (rng.permutation(len(questions)) for _ in count())
    return islice((questions[int(i)] for order in orders for i in order), skip, None)
