"""Episodes of an answerer: a target's policy through its engine, or a baseline through the operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.config import TrialConfig
from harness.config.evaluation import EvaluationSettings, Method
from harness.config.metric_names import FAULTED, TWIN
from harness.engines.base import Engine
from harness.env.environment_settings import Perturbations
from harness.env.prompts.chat import ChatFormat
from harness.env.rollout import Environment, rollout
from harness.evaluation.baselines.methods import BASELINES, Baseline, BaselineSettings
from harness.evaluation.targets import Target
from harness.operators import resolve_pool
from harness.policy.export import load_export
from harness.policy.load import DTYPES, Policy, PolicyError
from harness.training import factory
from harness.training.evaluation import EVALUATION_SEED, evaluate, evaluate_variants
from harness.training.prompt_room import check_prompts
from harness.training.trial_data import TrialData
from harness.training.warm_start.scripted_agents import Script, ScriptedEngine
from harness.training.warm_start.start_policy import base_policy, start_policy
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


def load_policy_of(target: Target, data: TrialData) -> tuple[Policy, Environment]:
    """A target's policy and the environment it plays in. Raises PolicyError."""
    if target.folder is not None:
        policy = load_export(target.folder, DTYPES[target.config.policy.dtype])
        return policy, factory.environment(target.config, policy.chat, data)
    base = base_policy(target.config)
    environment = factory.environment(target.config, base.chat, data)
    training = factory.training_environment(target.config, environment)
    return start_policy(target.config, base, training, data), environment


def engine_of(config: TrialConfig, policy: Policy) -> Engine:
    """The engine that runs the policy. Raises PolicyError where none supports the model."""
    from harness.engines.vllm import EngineError

    try:
        return factory.engine(config, policy)
    except (EngineError, ValueError) as error:
        raise PolicyError(str(error)) from error


def play_agent(target: Target, data: TrialData) -> Answers:
    config, at_once = target.config, target.config.data.eval_at_once
    policy, environment = load_policy_of(target, data)
    elsewhere = factory.evaluation_variants(config, environment, data)
    for played in (environment, *elsewhere.values()):
        check_prompts(config, played, (q for asked in data.evaluation.values() for q in asked))
    engine = engine_of(config, policy)
    done = evaluate(engine, environment, data.evaluation, config.data.eval_samples, config.rollout.temperature, at_once)
    further = evaluate_variants(engine, elsewhere, data.evaluation, done.greedy, at_once)
    return Answers(done.greedy, done.sampled, {s: e for s, e in further.episodes.items() if s != TWIN})


def play_baseline(
    method: Method, config: TrialConfig, settings: EvaluationSettings, chat: ChatFormat, data: TrialData
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
