"""From configuration to parts (policy, data, environment, engine): the only place that knows what a setting means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import torch

from harness.config import TrialConfig, code_version, digest, trial_key
from harness.config.model import EndpointBackend, LocalBackend, SimulatedBackend, VllmEngine
from harness.data import DataFolder, subset
from harness.engines.base import Engine
from harness.engines.builtin import BuiltinEngine
from harness.objectives.clip import Clip, FixedClip, MatchedClip
from harness.operators import SearchSettings, Style, Toolbox
from harness.operators.backends.simulated import SimulatedLLM, SimulatedRates
from harness.operators.base import LLMBackend
from harness.operators.bm25 import BM25Retriever
from harness.operators.world_knowledge import WorldKnowledge
from harness.policy.export import export_policy
from harness.policy.load import LoraSettings, Policy, load_policy, recompute_activations, with_lora
from harness.policy.warm_start import warm_start
from harness.prompts.chat import ChatFormat
from harness.prompts.system import system_prompt
from harness.protocol import RewardWeights
from harness.rollout import Budgets, Environment
from harness.types import Passage, Question
from harness.update import UpdateSettings
from harness.world import World, load_world

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PROMPT_TOKENS = 1280
"""Room for the prompt in the engine's cache, as in the paper's set-up."""


@dataclass(frozen=True)
class TrialData:
    """Training questions, evaluation questions by suite, and what Search finds its passages in."""

    train: tuple[Question, ...]
    evaluation: Mapping[str, tuple[Question, ...]]
    passages: tuple[Passage, ...]
    retriever: BM25Retriever


def base_policy(config: TrialConfig) -> Policy:
    """The base policy, without adapters."""
    c = config.policy
    return load_policy(c.kind, c.path, init=c.init, dtype=DTYPES[c.dtype], seed=config.seed, cache=cache_folder())


def cache_folder() -> Path:
    """Converted models and search indexes, kept between runs."""
    return Path.home() / ".cache" / "workflow-rl"


@cache
def world_retriever() -> BM25Retriever:
    return BM25Retriever(load_world().passages)


@cache
def world_knowledge() -> WorldKnowledge:
    return WorldKnowledge(load_world())


def world_expert(rates: Mapping[str, float] = MappingProxyType({})) -> SimulatedLLM:
    """The simulated operator LLM of the offline world; `rates` differ from its documented defaults."""
    return SimulatedLLM(world_knowledge(), SimulatedRates.from_mapping(rates))


def operator_llm(config: TrialConfig) -> LLMBackend:
    """The model behind the operators."""
    backend = config.environment.backend
    match backend:
        case SimulatedBackend():
            return world_expert(backend.rates)
        case EndpointBackend():
            from harness.operators.backends.openai import EndpointSettings, OpenAIBackend

            prices = (backend.prompt_price, backend.completion_price)
            cache = Path(backend.cache) if backend.cache else None
            return OpenAIBackend(
                EndpointSettings(
                    backend.base_url, backend.model, prompt_price=prices[0], completion_price=prices[1], cache=cache
                )
            )
        case LocalBackend():
            from harness.operators.backends.local import LocalLLM

            return LocalLLM(backend.model, threads=config.threads)


def data(config: TrialConfig) -> TrialData:
    """Training questions, the fixed evaluation questions of each suite, and the corpus behind Search."""
    c = config.data
    source: World | DataFolder = load_world() if c.source == "world" else DataFolder(Path(c.path or ""))
    train = tuple(q for suite in c.train_suites for q in source.split("train", suite))
    evaluation = {s: subset(source.split(c.eval_split, s), c.eval_questions) for s in c.eval_suites}
    if isinstance(source, DataFolder):
        passages = tuple(source.corpus())
        return TrialData(train, evaluation, passages, BM25Retriever(passages, cache_folder() / "bm25"))
    return TrialData(train, evaluation, source.passages, world_retriever())


def environment(config: TrialConfig, chat: ChatFormat, data: TrialData) -> Environment:
    c = config.environment
    style: Style = c.style
    toolbox = Toolbox(
        c.pool,
        operator_llm(config),
        data.retriever,
        style=style,
        search=SearchSettings(c.search.top_k, c.search.snippet_chars),
        observation_chars=c.observation_chars,
    )
    return Environment(
        system_prompt(c.pool, style),
        chat,
        toolbox,
        Budgets(c.max_calls, c.max_turns, c.max_turn_tokens, c.max_response_tokens),
        RewardWeights(config.reward.correct, config.reward.format_penalty, config.reward.no_answer_penalty),
    )


def engine(config: TrialConfig, policy: Policy) -> Engine:
    """The engine that samples, holding the policy's weights. Raises EngineError where vLLM is wanted and missing."""
    c, dtype = config.engine, DTYPES[config.policy.dtype]
    capacity = PROMPT_TOKENS + config.environment.max_response_tokens
    if not isinstance(c, VllmEngine):
        return BuiltinEngine(policy.model, capacity=capacity, dtype=dtype)
    from harness.engines import vllm

    return vllm.VllmEngine(
        policy.model,
        vllm.VllmSettings(
            max_model_len=c.max_model_len or capacity,
            gpu_memory_utilization=c.gpu_memory_utilization,
            kv_cache_bytes=int(c.kv_cache_gib * 2**30) if c.kv_cache_gib else None,
            tensor_parallel_size=c.tensor_parallel_size,
            dtype=dtype,
        ),
    )


def update_settings(config: TrialConfig) -> UpdateSettings:
    o, u = config.objective, config.update
    return UpdateSettings(
        ratio_unit=o.ratio_unit,
        reduction=o.reduction,
        kl_weight=o.kl_weight,
        updates_per_batch=u.updates_per_batch,
        tokens_per_microbatch=u.tokens_per_microbatch,
        max_grad_norm=u.max_grad_norm,
        temperature=config.rollout.temperature,
        autocast=u.autocast,
        seed=config.seed,
        importance_cap=o.importance_cap,
    )


def clip(config: TrialConfig) -> Clip:
    c = config.objective.clip
    return FixedClip(c.low, c.high) if c.target is None else MatchedClip(c.target, c.low, c.high)


def start_policy(config: TrialConfig, base: Policy, environment: Environment, data: TrialData) -> Policy:
    """The policy RL starts from: warm-started if asked for, then with its adapters if it has any."""
    c = config.policy
    lora = LoraSettings(c.lora.rank, c.lora.alpha, c.lora.dropout) if c.lora else None
    start = base
    if c.warm_start == "imitation":
        depends_on = {
            "policy": c.model_dump(mode="json"),
            "data": config.data.model_dump(mode="json", include={"source", "path", "train_suites"}),
            "environment": config.environment.model_dump(mode="json"),
            "code": code_version(),
        }
        start = warm_start(
            base,
            environment,
            data.train,
            {p.id: p.title for p in data.passages},
            episodes=c.warm_start_episodes,
            learning_rate=c.warm_start_lr,
            lora=lora,
            tokens_per_microbatch=config.update.tokens_per_microbatch,
            autocast=config.update.autocast,
            cache=cache_folder(),
            key=digest(depends_on)[:16],
        )
    policy = with_lora(start, lora, config.seed) if lora else start
    if config.update.gradient_checkpointing:
        recompute_activations(policy)
    return policy


def saves_at(config: TrialConfig, step: int) -> bool:
    """Whether the policy after `step` updates is to be kept."""
    match config.save.when:
        case "none":
            return False
        case "final":
            return step == config.steps
        case "every":
            return step == config.steps or step % config.eval_every == 0


def save_policy(config: TrialConfig, policy: Policy, step: int, folder: Path) -> None:
    """Export the policy after `step` updates into `folder`."""
    resolved, code = config.model_dump(mode="json"), code_version()
    c = config.policy
    export_policy(
        policy,
        folder,
        merged=config.save.merged,
        base=c.path if c.kind == "hub" and c.init == "start" and c.warm_start == "none" else None,
        bases=cache_folder(),
        provenance={"trial_key": trial_key(resolved, code), "step": step, "code": code, "config": resolved},
    )
