"""One training trial: Workflow-R1's algorithm from top to bottom.

    questions → groups of multi-turn rollouts → rewards → group-relative advantages → several clipped updates → repeat

Everything random follows from `config.seed`: the order of the questions, every sampled token, every operator's draw.
Results go to a sink: a journal, or memory in tests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from harness.config import TrialConfig
from harness.config.schema import BranchPoint
from harness.distributed.collective import ALONE, Collective
from harness.engines.base import Engine
from harness.env.diagnostics import RunningSignatures, episode_metrics, group_metrics, notable
from harness.env.rollout import Environment
from harness.env.rollout_groups import rollout_groups
from harness.objectives.clip import Clip, make_clip
from harness.policy.load import Policy, reference_of
from harness.policy.sharding import shard, unsharded
from harness.policy.state import restore_training, training_state
from harness.training import factory
from harness.training.eval_cache import played_once, start_key
from harness.training.evaluation import evaluate_all
from harness.training.prompt_room import check_prompts
from harness.training.question_order import curriculum_stages, question_order
from harness.training.trial_data import load_trial_data
from harness.training.update import Reference, policy_update
from harness.training.warm_start.start_policy import base_policy, start_policy
from harness.types import Diverged, Question, Trajectory


class TrialSink(Protocol):
    """Receiver of a trial's results."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, kind: str, **fields: Any) -> None:
        """An event of a step: `branched`, `policy_kept`, `diverged`, and the kinds of `diagnostics.NOTABLE`."""

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None: ...

    def policy(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep a policy: `write` fills the folder it is given."""

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep the state that a killed trial resumes from."""

    def resume(self) -> Mapping[str, Any] | None:
        """The state of the last checkpoint, else of the trial that this one branches from; None: start from step 0."""


def run_trial(config: TrialConfig, sink: TrialSink, workers: Collective = ALONE) -> dict[str, float]:
    """Train by `config`, evaluating before the first step, every `eval_every` steps and at the end.

    Returns the last evaluation's metrics. Metrics of step s describe the policy after s updates of the batch.
    Raises Diverged, the metrics of its step written, where a loss, gradient or log-probability is not finite.
    Several `workers` each call this with the same configuration: they share episodes and weights, and all come to the
    same numbers; one of them should keep what its sink is given.
    """
    state = setup(config, sink, workers)
    scores: dict[str, float] = {}
    for step in range(state.first_step, config.steps + 1):
        values: dict[str, float] = {}
        try:
            start = time.perf_counter()
            values |= train_step(state, step) if step > config.start_step else {}
            values["time/step_s"] = time.perf_counter() - start
            if config.evaluates_at(step):
                start = time.perf_counter()
                scores = evaluate_step(state, step)
                values |= scores | {"time/eval_s": time.perf_counter() - start}
        except Diverged as found:
            sink.event("diverged", step=step, quantity=found.quantity)
            sink.metrics(step, values | found.metrics)
            raise Diverged(found.quantity, found.metrics, step) from None
        if config.saves_at(step):
            export_step(state, step)
        sink.metrics(step, values)
        if config.checkpoints_at(step):
            save_checkpoint(state, step)
    return scores


@dataclass(slots=True)
class TrainState:
    """A trial in progress. `clip`, `running`, `questions`, `asked` (how many of them) and the weights change from step
    to step.

    `model` is the policy's model as the update runs it (sharded over several workers); `reference` the policy that the
    KL term is taken against, if there is one.
    """

    config: TrialConfig
    sink: TrialSink
    workers: Collective
    policy: Policy
    model: nn.Module
    reference: Reference | None
    optimizer: torch.optim.Optimizer
    engine: Engine
    train_environment: Environment
    eval_environment: Environment
    eval_variants: Mapping[str, Environment]
    eval_questions: Mapping[str, Sequence[Question]]
    final_questions: Mapping[str, Sequence[Question]]
    questions: Iterator[Question]
    clip: Clip
    running: RunningSignatures
    first_step: int
    asked: int


def setup(config: TrialConfig, sink: TrialSink, workers: Collective = ALONE) -> TrainState:
    """Build every part of a trial, from the sink's last checkpoint if it has one. Raises DataError for a question that
    the engine has no room for."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    base = base_policy(config, workers)
    data = load_trial_data(config)
    environment = factory.environment(config, base.chat, data)
    variants = factory.evaluation_variants(config, environment, data)
    training = factory.training_environment(config, environment)
    check_prompts(config, training, data.train)
    for played in (environment, *variants.values()):
        check_prompts(config, played, (q for asked in data.evaluation.values() for q in asked))
    policy = start_policy(config, base, training, data)
    training = factory.with_training_faults(config, training, data)
    clip, running = make_clip(config.objective.clip), RunningSignatures()
    model, reference = _model_and_reference(policy, config, workers)
    optimizer = torch.optim.AdamW(
        policy.trainable,
        lr=config.update.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=config.update.weight_decay,
        fused=True,
    )
    first_step, asked_before = 0, 0
    saved = restore_training(sink.resume(), policy.model, optimizer, workers)
    if saved is not None:
        running, asked_before = RunningSignatures.from_dict(saved["running"]), saved["questions"]
        first_step = saved["step"] + 1
    if config.branch is not None:
        _start_branch(config, config.branch, sink, optimizer, saved)
    if saved is not None and saved["step"] == config.start_step:
        first_step = config.start_step  # to be evaluated, with a clip of the trial's own
    elif saved is not None:
        clip = clip.restore(saved["clip"])
    return TrainState(
        config=config,
        sink=sink,
        workers=workers,
        policy=policy,
        model=model,
        reference=reference,
        optimizer=optimizer,
        engine=factory.engine(config, policy),  # last: it takes its share of a GPU that by now holds parts only
        train_environment=training,
        eval_environment=environment,
        eval_variants=variants,
        eval_questions=data.evaluation,
        final_questions=data.final,
        questions=question_order(data.train, config.seed, asked_before, curriculum_stages(config, data)),
        clip=clip,
        running=running,
        first_step=first_step,
        asked=asked_before,
    )


def train_step(state: TrainState, step: int) -> dict[str, float]:
    """One rollout batch and its updates; the metrics `train/…`, `update/…`, `sampler/…`, `time/…`."""
    config, rollout = state.config, state.config.rollout
    start = time.perf_counter()
    questions = [next(state.questions) for _ in range(rollout.prompts_per_step)]
    state.asked += len(questions)
    groups = rollout_groups(  # of each question `group_size` episodes, each with its reward
        state.engine,
        state.train_environment,
        questions,
        rollout.group_size,
        (config.seed, step, rollout.stream),
        rollout.temperature,
        state.workers,
    )
    state.engine.sleep()
    rolled = time.perf_counter()
    # per minibatch: advantages relative to the group, ratios of the objective's units, clipped surrogate, one step
    result = policy_update(state.model, state.optimizer, groups, state.clip, config, state.reference, state.workers)
    state.clip = result.clip
    if result.diverged is None:
        state.engine.load_weights(state.policy.model)
    trajectories = [t for g in groups for t in g.trajectories]
    values = {f"train/{k}": v for k, v in (episode_metrics(trajectories) | group_metrics(groups)).items()}
    values |= result.metrics
    # the largest of the step's updates: a spike in one of four would drown in their mean
    state.running, sudden = state.running.observe(values["train/reward_variance"], values["update/grad_norm_max"])
    values |= sudden
    values |= {
        "time/rollout_s": rolled - start,
        "time/update_s": time.perf_counter() - rolled,
        "time/tokens_per_s": sum(t.n_tokens for t in trajectories) / (time.perf_counter() - start),
    }
    state.sink.episodes(step, "train", trajectories)
    for kind in notable(values):
        state.sink.event(kind, step=step)
    if result.diverged is not None:
        raise Diverged(result.diverged, values)
    return values


def evaluate_step(state: TrainState, step: int) -> dict[str, float]:
    """Evaluate the policy on the held-out questions, in the standard environment and its variants; the metrics."""
    config = state.config
    play = partial(
        evaluate_all,
        state.engine,
        state.eval_environment,
        state.eval_variants,
        state.final_questions if step == config.steps else state.eval_questions,
        config.data.eval_samples,
        config.rollout.temperature,
        config.data.eval_at_once,
        state.workers,
    )
    # trials of equal start policies, or of one trunk, share their first evaluation
    shared = step == config.start_step and state.workers.size == 1
    standard, variants = played_once(start_key(config), play) if shared else play()
    state.sink.episodes(step, "eval", standard.greedy)
    if standard.sampled:
        state.sink.episodes(step, "eval_sampled", standard.sampled)
    for split, episodes in variants.episodes.items():
        state.sink.episodes(step, split, episodes)
    return standard.metrics | variants.metrics


def export_step(state: TrainState, step: int) -> None:
    """Export the policy to the sink."""
    state.engine.sleep()  # whole weights pass through the GPU
    if (whole := unsharded(state.policy, state.workers)) is not None:
        state.sink.policy(step, partial(factory.save_policy, state.config, whole, step))
    state.sink.event("policy_kept", step=step)
    if step < state.config.steps:
        state.engine.load_weights(state.policy.model)


def save_checkpoint(state: TrainState, step: int) -> None:
    """Give the sink all that `setup` needs to resume after this step."""
    kept = training_state(state.policy.model, state.optimizer, state.workers)
    kept |= {"clip": state.clip.state(), "running": state.running.to_dict()}
    state.sink.checkpoint(step, {**kept, "step": step, "questions": state.asked})


def _start_branch(
    config: TrialConfig,
    branch: BranchPoint,
    sink: TrialSink,
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Any] | None,
) -> None:
    """Give a restored optimizer this trial's own settings; an event where training starts at the branch point.

    Raises ValueError where the sink has neither a state of this trial nor of the one it branches from.
    """
    if saved is None or saved["step"] < branch.after:
        raise ValueError(f"there is no training state of step {branch.after} to branch from")
    for group in optimizer.param_groups:  # the state holds those of the trial that was branched from
        group |= {"lr": config.update.learning_rate, "weight_decay": config.update.weight_decay}
    if saved["step"] == branch.after:
        sink.event("branched", step=branch.after, trunk=branch.trunk)


def _model_and_reference(
    policy: Policy, config: TrialConfig, workers: Collective
) -> tuple[nn.Module, Reference | None]:
    """The policy's model as the update runs it, and the reference policy of the KL term."""
    temperature, autocast, with_kl = config.rollout.temperature, config.update.autocast, config.objective.kl_weight > 0
    if workers.size > 1:
        return shard(policy, temperature, autocast, with_reference=with_kl)
    if with_kl:
        return policy.model, reference_of(policy, temperature, autocast)
    return policy.model, None
