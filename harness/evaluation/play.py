"""Episodes of an answerer: a target's policy through its engine, or a baseline through the operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.config import TrialConfig
from harness.config.evaluation import EvaluationSettings, Method
from harness.config.metric_names import FAULTED, TWIN
from harness.engines.base import Engine
from harness.env.environment_settings import Perturbations
from harness.env.prompts.chat import ChatFormat
from harness.env.rollout import Environment, rollout
from harness.evaluation.baselines.fixed_workflows import WRITTEN
from harness.evaluation.baselines.methods import BASELINES, Baseline, BaselineSettings
from harness.evaluation.targets import Target
from harness.operators import resolve_pool
from harness.paths import cache_folder
from harness.policy.export import load_export
from harness.policy.load import Policy, PolicyError, load_policy
from harness.tasks.benchmarks import DataError
from harness.training import factory
from harness.training.evaluation import EVALUATION_SEED, evaluate, evaluate_variants
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine
from harness.types import Question, Trajectory

GREEDY, SAMPLED = "greedy", "sampled"
UNLIMITED = 1_000_000
"""Tokens and characters of a baseline's turns and observations: no model reads them, so they need no limit."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One greedy episode for each question, `eval_samples` sampled ones, and greedy ones under other conditions.

    `variants` by split, as configured: `eval_fault`, `eval_prompt_<perturbation>`.
    """

    greedy: tuple[Trajectory, ...]
    sampled: tuple[Trajectory, ...]
    variants: Mapping[str, tuple[Trajectory, ...]]

    def by_mode(self) -> dict[str, tuple[Trajectory, ...]]:
        """`greedy`, `sampled` and each variant that has episodes."""
        modes = {GREEDY: self.greedy, SAMPLED: self.sampled, **self.variants}
        return {mode: episodes for mode, episodes in modes.items() if episodes}


def load_policy_of(target: Target, data: factory.TrialData) -> tuple[Policy, Environment]:
    """A target's policy and the environment it plays in. Raises PolicyError."""
    if target.folder is not None:
        policy = load_export(target.folder, factory.DTYPES[target.config.policy.dtype])
        return policy, factory.environment(target.config, policy.chat, data)
    base = factory.base_policy(target.config)
    environment = factory.environment(target.config, base.chat, data)
    training = factory.training_environment(target.config, environment)
    return factory.start_policy(target.config, base, training, data), environment


def engine_of(config: TrialConfig, policy: Policy) -> Engine:
    """The engine that runs the policy. Raises PolicyError where none supports the model."""
    from harness.engines.vllm import EngineError

    try:
        return factory.engine(config, policy)
    except (EngineError, ValueError) as error:
        raise PolicyError(str(error)) from error


def check_prompts(environment: Environment, data: factory.TrialData, capacity: int) -> None:
    """Raises DataError naming the first question whose prompt leaves no token of `capacity` for an answer."""
    for question in (q for asked in data.evaluation.values() for q in asked):
        if len(question.text) >= capacity and (n := len(environment.prompt(question))) >= capacity:
            raise DataError(
                f"question {question.id!r}: its prompt has {n} tokens, at most {capacity - 1} fit; shorten it"
            )


def play_agent(target: Target, data: factory.TrialData) -> Answers:
    config, at_once = target.config, target.config.data.eval_at_once
    policy, environment = load_policy_of(target, data)
    check_prompts(environment, data, factory.PROMPT_TOKENS + config.environment.max_response_tokens)
    engine = engine_of(config, policy)
    done = evaluate(engine, environment, data.evaluation, config.data.eval_samples, config.rollout.temperature, at_once)
    elsewhere = factory.evaluation_variants(config, environment, data)
    further = evaluate_variants(engine, elsewhere, data.evaluation, done.greedy, at_once)
    return Answers(done.greedy, done.sampled, {s: e for s, e in further.episodes.items() if s != TWIN})


def play_baseline(
    method: Method, config: TrialConfig, settings: EvaluationSettings, chat: ChatFormat, data: factory.TrialData
) -> Answers:
    """Play a baseline on the evaluation questions of `data`, with the operator LLM, faults and seeds of `config`.

    Baselines read no prompt, so the only variant is the one with faults.
    """
    how = settings_of(config, settings)
    baseline = BASELINES[method]
    own = environment_of(config, baseline, how)
    environment = factory.environment(own, chat, data)
    questions = [q for asked in data.evaluation.values() for q in asked]
    repeated = [q for q in questions for _ in range(config.data.eval_samples)]

    def play(place: Environment, asked: Sequence[Question]) -> tuple[Trajectory, ...]:
        return tuple(_play(place, chat, asked, lambda q: baseline.script(q, how), config.data.eval_at_once))

    variants = {
        split: play(place, questions)
        for split, place in factory.evaluation_variants(own, environment, data).items()
        if split == FAULTED
    }
    return Answers(play(environment, questions), play(environment, repeated), variants)


def settings_of(config: TrialConfig, settings: EvaluationSettings) -> BaselineSettings:
    """Settings of baselines from both configurations: a written plan may call the operators of the policy's pool."""
    pool = resolve_pool(config.environment.pool)
    return BaselineSettings(settings.votes, settings.plan, pool, config.environment.max_calls)


def environment_of(config: TrialConfig, baseline: Baseline, how: BaselineSettings) -> TrialConfig:
    """The configuration with the operators and limits of a baseline, everything else as for the policy."""
    calls = baseline.calls(how)
    changed: dict[str, Any] = {
        "pool": baseline.pool(how),
        "interface": "natural",
        "perturbations": Perturbations(train=(), eval=()),
        "style": "compact",
        "max_calls": calls,
        "max_turns": calls + 1,
        "max_turn_tokens": UNLIMITED,
        "max_response_tokens": UNLIMITED,
        "observation_chars": UNLIMITED,
    }
    return config.model_copy(update={"environment": replace(config.environment, **changed)})


def any_chat(config: TrialConfig) -> ChatFormat:
    """The smallest tokenizer, for the text of a baseline, which no model reads."""
    none = cache_folder()
    return load_policy("tiny", None, init="start", dtype=torch.float32, seed=config.seed, cache=none).chat


def cannot_play(method: Method, config: TrialConfig, settings: EvaluationSettings) -> str | None:
    """Why a baseline is meaningless with these operators, None if it is not."""
    if config.environment.backend.kind != "simulated":
        return None
    if config.data.source == "files":
        return "the simulated expert knows only the answers of real questions: give environment.backend a model"
    if method != "one_shot":
        return None
    if settings.plan == WRITTEN:
        return "the simulated expert recalls facts and cannot write a plan: give environment.backend a model"
    if settings.plan == "search":
        return "the simulated expert reads no passages: give environment.backend a model, or plan=revise or ensemble"
    return None


def _play(
    environment: Environment,
    chat: ChatFormat,
    questions: Sequence[Question],
    script: Callable[[Question], Script],
    at_once: int,
) -> list[Trajectory]:
    """Play scripts with the seeds of policies (`harness.training.evaluation`), so that operators draw alike."""
    played: list[Trajectory] = []
    for i in range(0, len(questions), at_once):
        part = questions[i : i + at_once]
        engine: Engine = ScriptedEngine(chat, [script(q) for q in part])
        seeds = [EVALUATION_SEED + i + n for n in range(len(part))]
        played += rollout(engine, environment, part, seeds, 0.0)
    return played
