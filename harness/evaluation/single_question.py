"""One question asked of one answerer, shown as it happens."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from torch import nn

from harness.config import TrialConfig
from harness.config.evaluation import EvaluationSettings
from harness.engines.base import Engine, Generation, GenerationRequest, SamplingParams
from harness.env.rollout import Environment, rollout
from harness.evaluation.baselines.methods import BASELINES
from harness.evaluation.episode_console import Show
from harness.evaluation.play import any_chat, cannot_play, engine_of, environment_of, load_policy_of, settings_of
from harness.evaluation.targets import Target
from harness.operators import Caller
from harness.operators.base import CallContext
from harness.policy.load import PolicyError
from harness.redact import error_text
from harness.tasks.benchmarks import DataError
from harness.tasks.world import load_world
from harness.training import factory
from harness.training.evaluation import EVALUATION_SEED
from harness.training.warm_start.scripted_agents import ScriptedEngine
from harness.types import OperatorResult, Question

NOBODY_KNOWS = Question("asked", "questionthatnobodyasked", ("answerthatnobodyknows",), "asked")
"""Stands for a question without a known answer where the types want one. Its word occurs in no text."""


def ask(
    text: str,
    gold: Sequence[str],
    settings: EvaluationSettings,
    target: Target,
    seed: int | None,
    under: str | None,
    console: Console,
) -> int:
    """Play one episode: greedily, or sampled with `seed`; in the ordinary environment, or `under` a condition that the
    configuration names (`fault`, `prompt_<perturbation>`). Returns the exit status."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    config, method = target.config, settings.method[0]
    refusal = cannot_play(method, config, settings) if method != "agent" else None
    if refusal:
        print(refusal, file=sys.stderr)
        return 2
    torch.set_num_threads(config.threads)
    try:
        data = factory.data(config, training=False)
        known = find_question(text, config, data)
        question = asked_question(text, gold, known)
        if method == "agent":
            policy, environment = load_policy_of(target, data)
            engine: Engine = engine_of(config, policy)
        else:
            how, chat = settings_of(config, settings), any_chat(config)
            config = environment_of(config, BASELINES[method], how)
            environment = factory.environment(config, chat, data)
            engine = ScriptedEngine(chat, [BASELINES[method].script(question, how)])
    except (PolicyError, DataError) as error:
        print(f"cannot ask: {error_text(error)}", file=sys.stderr)
        return 1
    conditions = factory.evaluation_variants(config, environment, data)
    if under is not None:
        if f"eval_{under}" not in conditions:
            known_ones = ", ".join(name.removeprefix("eval_") for name in conditions)
            print(f"no condition {under!r}: the configuration has {known_ones or 'none'}", file=sys.stderr)
            return 2
        environment = conditions[f"eval_{under}"]
    if known is None:
        environment = replace(environment, operators=Unaware(environment.operators))
    show = Show(console)
    who = target.name if target.step is None else f"{target.name}, step {target.step}"
    facts = [("answered by", who if method == "agent" else f"{method} (baseline)")]
    facts += [("operators", f"{', '.join(environment.operators.pool)} ({config.environment.backend.kind})")]
    facts += [("condition", under)] if under else []
    show.opening(question.text, facts)
    begun = time.perf_counter()
    heard = Heard(engine, environment, show)
    temperature = 0.0 if seed is None else config.rollout.temperature
    play = rollout(
        heard, environment, [question], [EVALUATION_SEED if seed is None else seed], temperature,
        watch=lambda _, turn: show.ended(turn),
    )  # fmt: skip
    right = tuple(gold) or (known.answers if known is not None else ())
    show.closing(play[0], right, time.perf_counter() - begun)
    return 0


def find_question(text: str, config: TrialConfig, data: factory.TrialData) -> Question | None:
    """The question of the world or of the data that has these words, None for one that nobody wrote down."""
    if config.data.source == "world":
        return load_world().question_by_text.get(text)
    every = (*data.train, *(q for asked in data.evaluation.values() for q in asked))
    return next((q for q in every if q.text == text), None)


def asked_question(text: str, gold: Sequence[str], known: Question | None) -> Question:
    """What is played: the known question, or a free one (scored by `gold` if that is given, never shown otherwise)."""
    if known is not None:
        return replace(known, answers=tuple(gold)) if gold else known
    return Question("asked", text, tuple(gold) or NOBODY_KNOWS.answers, "asked")


@dataclass(frozen=True)
class Unaware:
    """Operators that are not told which question is asked: the simulated expert would read its answer off it."""

    inner: Caller

    @property
    def pool(self) -> tuple[str, ...]:
        return self.inner.pool

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        return await self.inner.call(name, text, replace(context, question=NOBODY_KNOWS))


@dataclass(frozen=True)
class Heard:
    """An engine that shows what it generates at once, before any operator is called."""

    inner: Engine
    environment: Environment
    show: Show

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        generations = self.inner.generate(requests, params)
        for g in generations:
            text = self.environment.chat.text(g.tokens)
            self.show.said(
                self.environment.interface.parse(text, self.environment.operators.pool, truncated=not g.stopped)
            )
        return generations

    def release(self, sequence_ids: Sequence[int]) -> None:
        self.inner.release(sequence_ids)

    def load_weights(self, model: nn.Module) -> None:
        self.inner.load_weights(model)

    def sleep(self) -> None:
        self.inner.sleep()
