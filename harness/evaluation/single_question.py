"""One question to one answerer, displayed live."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

from harness.config import TrialConfig
from harness.config.evaluation import EvaluationSettings
from harness.config.metric_names import FAULTED
from harness.config.trust import service_lines
from harness.credit.staircase import staircase_page
from harness.credit.two_pass import StateValue
from harness.credit.values import ForkSettings, episode_credit, state_values
from harness.engines.base import Engine, Generation, GenerationRequest, SamplingParams
from harness.env.diagnostics import operators_called
from harness.env.rollout import Environment, rollout
from harness.evaluation.baselines.methods import BASELINES
from harness.evaluation.episode_console import EpisodeConsole
from harness.evaluation.play import engine_of, environment_of, load_policy_of, settings_of
from harness.evaluation.targets import Target
from harness.operators import Caller
from harness.operators.base import CallContext
from harness.policy.load import PolicyError, shipped_chat
from harness.tasks.benchmarks import DataError
from harness.tasks.world import load_world
from harness.training import factory
from harness.training.evaluation import EVALUATION_SEED
from harness.training.prompt_room import check_prompts
from harness.training.trial_data import TrialData, load_trial_data
from harness.training.warm_start.scripted_agents import ScriptedEngine
from harness.types import OperatorResult, Question, Trajectory
from harness.types.redact import error_text

FAULT = FAULTED.removeprefix("eval_")
"""Name of the condition with injected faults."""
PLACEHOLDER_QUESTION = Question("asked", "questionthatnobodyasked", ("answerthatnobodyknows",), "asked")
"""For a question without a known answer, where types require one. Its words occur in no text."""


def ask_question(
    text: str,
    gold: Sequence[str],
    settings: EvaluationSettings,
    target: Target,
    seed: int | None,
    under: str | None,
    console: Console,
    values: ValueRequest | None = None,
) -> int:
    """Play one episode: greedily, or sampled with `seed`; in the standard environment, or `under` a condition of the
    configuration (`fault`, `prompt_<perturbation>`). Then the `values` of its states, of the policy at the
    configuration's temperature. Returns the exit status."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    config, method = target.config, settings.method[0]
    torch.set_num_threads(config.threads)
    try:
        data = load_trial_data(config, training=False)
        known = find_question(text, config, data)
        question = question_to_play(text, gold, known)
        if method == "agent":
            policy, environment = load_policy_of(target, data)
            check_prompts(config, environment, [question])
            engine: Engine = engine_of(config, policy)
        else:
            how, chat = settings_of(config, settings), shipped_chat()
            config = environment_of(config, BASELINES[method], how)
            environment = factory.environment(config, chat, data)
            engine = ScriptedEngine(chat, [BASELINES[method].script(question, how)])
    except (PolicyError, DataError) as error:
        print(f"cannot ask: {error_text(error)}", file=sys.stderr)
        return 1
    conditions = factory.evaluation_variants(config, environment, data)
    if under is not None:
        if f"eval_{under}" not in conditions:
            conditions_known = ", ".join(name.removeprefix("eval_") for name in conditions)
            print(f"no condition {under!r}: the configuration has {conditions_known or 'none'}", file=sys.stderr)
            return 2
        environment = conditions[f"eval_{under}"]
    if known is None:
        environment = replace(environment, operators=WithoutQuestion(environment.operators))
    show = EpisodeConsole(console)
    name = target.name if target.step is None else f"{target.name}, step {target.step}"
    facts = [("answered by", name if method == "agent" else f"{method} (baseline)")]
    facts += [("operators", f"{', '.join(environment.operators.pool)} ({config.environment.backend.kind})")]
    facts += [("condition", under)] if under else []
    facts += [("service", line) for line in (*service_lines(config.environment), *target.confirmed)]
    show.question(question.text, facts)
    start = time.perf_counter()
    displaying = DisplayingEngine(engine, environment, show)
    temperature = 0.0 if seed is None else config.rollout.temperature
    play = rollout(
        displaying, environment, [question], [EVALUATION_SEED if seed is None else seed], temperature,
        watch=lambda _, turn: show.environment_turn(turn),
    )  # fmt: skip
    answers = tuple(gold) or (known.answers if known is not None else ())
    show.outcome(play[0], answers, time.perf_counter() - start)
    if under == FAULT:
        turns = play[0].turns
        struck, calls = sum(len(t.faults) for t in turns), sum(len(operators_called(t)) for t in turns)
        show.note("faults", f"{struck} of {calls} calls struck" + ("" if struck else ": an episode without faults"))
    if values is not None and not answers:
        show.note("values", "none: no gold answer is known (give one with --gold)")
    elif values is not None:
        forks = ForkSettings(values.forks, EVALUATION_SEED if seed is None else seed, config.rollout.temperature)
        show_values(play[0], state_values(engine, environment, play, forks), values, forks, show)
    return 0


@dataclass(frozen=True, slots=True)
class ValueRequest:
    """Forks a state to estimate values by, and the file to draw them in, if any."""

    forks: int
    page: Path | None = None


def show_values(
    episode: Trajectory,
    values: Mapping[str, StateValue],
    request: ValueRequest,
    forks: ForkSettings,
    show: EpisodeConsole,
) -> None:
    """Print the credit of an episode's units and write its staircase."""
    credit = episode_credit(episode, values)
    about = f"95 % intervals by {forks.forks} forks a state of the policy at temperature {forks.temperature:g}"
    show.values(credit, about)
    if request.page is not None:
        request.page.write_text(staircase_page(episode, credit, about), encoding="utf-8")
        show.note("staircase", str(request.page))


def find_question(text: str, config: TrialConfig, data: TrialData) -> Question | None:
    """The question of the world or of the data with this text; None for a new one."""
    if config.data.source == "world":
        return load_world().question_by_text.get(text)
    every = (*data.train, *(q for asked in data.evaluation.values() for q in asked))
    return next((q for q in every if q.text == text), None)


def question_to_play(text: str, gold: Sequence[str], known: Question | None) -> Question:
    """The known question, or a new one (scored by `gold` if given, otherwise its score is not shown)."""
    if known is not None:
        return replace(known, answers=tuple(gold)) if gold else known
    return Question("asked", text, tuple(gold) or PLACEHOLDER_QUESTION.answers, "asked")


@dataclass(frozen=True)
class WithoutQuestion:
    """Operators that do not get the question: the simulated expert would take the answer from it."""

    inner: Caller

    @property
    def pool(self) -> tuple[str, ...]:
        return self.inner.pool

    async def call(self, name: str, text: str, context: CallContext) -> OperatorResult:
        return await self.inner.call(name, text, replace(context, question=PLACEHOLDER_QUESTION))


@dataclass(frozen=True)
class DisplayingEngine:
    """An engine that displays its output at once, before any operator is called."""

    inner: Engine
    environment: Environment
    show: EpisodeConsole

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        generations = self.inner.generate(requests, params)
        for g in generations:
            text = self.environment.chat.text(g.tokens)
            self.show.policy_turn(
                self.environment.interface.parse(text, self.environment.operators.pool, truncated=not g.stopped)
            )
        return generations

    def release(self, sequence_ids: Sequence[int]) -> None:
        self.inner.release(sequence_ids)

    def load_weights(self, model: nn.Module) -> None:
        self.inner.load_weights(model)

    def sleep(self) -> None:
        self.inner.sleep()
