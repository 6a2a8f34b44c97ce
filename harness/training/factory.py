"""Composition of a trial's parts from its configuration; each room builds its own from its settings.

Data are in `trial_data`, base and start policy in `warm_start.start_policy`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.config import TrialConfig, code_version, own_code, trial_key
from harness.config.metric_names import FAULTED, PROMPTED
from harness.engines.base import Engine
from harness.engines.engine_builder import build_engine
from harness.env.environment_builder import build_environment, with_faults, with_perturbations
from harness.env.environment_settings import Faults
from harness.env.fault_injection import FaultPlan
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.perturbations import parts_of, split_of
from harness.env.rollout import Environment
from harness.operators.operator_services import operator_llm, world_knowledge
from harness.policy.export import export_policy
from harness.policy.folders import bases_for
from harness.policy.load import Policy
from harness.training.prompt_room import engine_capacity
from harness.training.trial_data import TrialData

VARIANT_SEED = 0
"""Seed of the faults and perturbations of evaluations."""


def environment(config: TrialConfig, chat: ChatFormat, data: TrialData) -> Environment:
    """The standard one: no perturbation, no fault."""
    c = config.environment
    llm = operator_llm(c.pool, c.backend, config.threads)
    return replace(build_environment(c, config.reward, chat, llm, data.retriever), is_right=data.is_right)


def training_environment(config: TrialConfig, standard: Environment) -> Environment:
    """The standard environment under the training perturbations, without faults: what a warm start sees."""
    names = [name for entry in config.environment.perturbations.train for name in parts_of(entry)]
    return with_perturbations(config.environment, standard, names, config.seed)


def evaluation_variants(config: TrialConfig, standard: Environment, data: TrialData) -> dict[str, Environment]:
    """Environments of further evaluations, by split: `eval_fault`, `eval_prompt_<perturbation>`.

    Their randomness is no trial's: every trial meets the same faults and the same words.
    """
    variants: dict[str, Environment] = {}
    c = config.environment
    if c.faults is not None and c.faults.eval_rate > 0:
        variants[FAULTED] = _faulted(config, standard, data, c.faults, c.faults.eval_rate, VARIANT_SEED)
    for name in c.perturbations.eval:
        variants[PROMPTED + split_of(name)] = with_perturbations(c, standard, parts_of(name), VARIANT_SEED)
    return variants


def with_training_faults(config: TrialConfig, environment: Environment, data: TrialData) -> Environment:
    """`environment` with the faults of training, which are other ones in every trial."""
    faults = config.environment.faults
    if faults is None or faults.train_rate == 0:
        return environment
    return _faulted(config, environment, data, faults, faults.train_rate, config.seed)


def _faulted(
    config: TrialConfig, environment: Environment, data: TrialData, faults: Faults, rate: float, seed: int
) -> Environment:
    plan = FaultPlan(faults.kinds, rate, seed, positions=faults.positions)
    knowledge = world_knowledge() if config.data.source == "world" else None
    return with_faults(environment, plan, knowledge, data.decoys)


def engine(config: TrialConfig, policy: Policy) -> Engine:
    """The engine that samples, holding the policy's weights. Raises EngineError where vLLM is wanted and missing."""
    return build_engine(policy.model, config.engine, engine_capacity(config), config.policy.dtype)


def save_policy(config: TrialConfig, policy: Policy, step: int, folder: Path) -> None:
    """Export the policy after `step` updates into `folder`."""
    resolved, code = config.model_dump(mode="json"), code_version()
    c = config.policy
    export_policy(
        policy,
        folder,
        merged=config.save.merged,
        base=c.path if c.kind == "hub" and c.init == "start" and c.warm_start == "none" else None,
        bases=bases_for(folder),
        provenance={
            "trial_key": trial_key(resolved, code, own_code(config)),
            "step": step,
            "code": code,
            "config": resolved,
        },
    )
