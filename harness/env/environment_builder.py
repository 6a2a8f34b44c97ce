"""Environments built from their settings: the standard one, under perturbations, with faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.env.environment_settings import EnvironmentSettings
from harness.env.fault_injection import FaultInjector, FaultPlan
from harness.env.interfaces import INTERFACES, ActionInterface, CodeInterface, Limits
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.perturbations import Perturbed
from harness.env.prompts.system import standard_prompt
from harness.env.rollout import Environment
from harness.operators import Toolbox
from harness.operators.base import LLMBackend, Retriever
from harness.operators.llm.knowledge_base import KnowledgeBase
from harness.protocol import RewardWeights


def build_environment(
    settings: EnvironmentSettings, reward: RewardWeights, chat: ChatFormat, llm: LLMBackend | None, retriever: Retriever
) -> Environment:
    """The standard one: no perturbation, no fault. `llm` is None where no operator of the pool asks it."""
    toolbox = Toolbox(
        settings.pool,
        llm,
        retriever,
        style=settings.style,
        search=settings.search,
        observation_chars=settings.observation_chars,
    )
    prompt = standard_prompt(settings.pool, settings.style, _interface(settings))
    return Environment(prompt.messages("")[0], chat, toolbox, settings, reward, prompt.interface)


def _interface(settings: EnvironmentSettings) -> ActionInterface:
    compact = settings.style == "compact"
    if settings.interface == "code":  # a program's output is an observation like any other
        return CodeInterface(Limits(output_chars=settings.observation_chars), compact=compact)
    return INTERFACES[settings.interface](compact=compact)


def with_perturbations(
    settings: EnvironmentSettings, standard: Environment, names: Sequence[str], seed: int
) -> Environment:
    """`standard` under the perturbations `names`, whose words are drawn from `seed`."""
    if not names:
        return standard
    prompt = standard_prompt(settings.pool, settings.style, standard.interface)
    perturbed = Perturbed(prompt, tuple(names), seed)
    return replace(standard, interface=perturbed.interface, reworded=perturbed.messages)


def with_faults(
    environment: Environment, plan: FaultPlan, knowledge: KnowledgeBase | None, decoys: Sequence[str]
) -> Environment:
    """`environment` with the faults of `plan`; see `FaultInjector`, also for what it raises."""
    return replace(environment, operators=FaultInjector(environment.operators, plan, knowledge, decoys))
