"""From configuration to parts (policy, data, environment, engine): one function a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import torch

from harness.config import TrialConfig, code_version, digest, trial_key
from harness.config.metric_names import FAULTED, PROMPTED
from harness.distributed.collective import ALONE, Collective
from harness.engines.base import Engine
from harness.engines.builtin import BuiltinEngine
from harness.engines.engine_settings import BuiltinSettings
from harness.env.environment_settings import Faults
from harness.env.fault_injection import FaultInjector, FaultPlan
from harness.env.interfaces import INTERFACES, ActionInterface, CodeInterface, Limits
from harness.env.prompts.chat import ChatFormat
from harness.env.prompts.perturbations import Perturbed, parts_of, split_of
from harness.env.prompts.system import standard_prompt
from harness.env.rollout import Environment
from harness.operators import Toolbox
from harness.operators.base import LLMBackend, Retriever
from harness.operators.llm.simulated import SimulatedLLM, SimulatedRates
from harness.operators.llm.world_knowledge import WorldKnowledge
from harness.operators.operator_settings import (
    Bm25Settings,
    EndpointBackend,
    LocalBackend,
    SearchR1Settings,
    SimulatedBackend,
    WebSearchSettings,
)
from harness.operators.registry import OPERATORS, resolve_pool
from harness.operators.retrieval.bm25 import BM25Retriever
from harness.operators.retrieval.corpus_index import file_retriever
from harness.paths import cache_folder
from harness.policy.export import export_policy
from harness.policy.folders import bases_for
from harness.policy.load import Policy, load_policy, recompute_activations, with_lora
from harness.tasks.benchmarks import DataFolder, subset
from harness.tasks.world import World, load_world
from harness.training.warm_start.warm_start import WARM_START_SEED, warm_start
from harness.types import Question

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
VARIANT_SEED = 0
"""Seed of the faults and perturbations of evaluations."""
PROMPT_TOKENS = 1280
"""Room for the prompt in the engine's cache, as in the paper's set-up."""


DECOYS = 50_000
"""Titles that faults draw from, evenly spaced in a larger corpus."""


@dataclass(frozen=True)
class TrialData:
    """Training questions, evaluation questions by suite, and what Search finds passages with.

    `titles`: of the passages in `Question.supporting`, by id, where a warm start will search for them. `decoys`: titles
    that faults search for instead.
    """

    train: tuple[Question, ...]
    evaluation: Mapping[str, tuple[Question, ...]]
    retriever: Retriever
    titles: Mapping[str, str]
    decoys: Sequence[str]


def base_policy(config: TrialConfig, workers: Collective = ALONE) -> Policy:
    """The base policy, without adapters, on the GPU if this process was given one.

    What several `workers` will share stays in main memory, from where it is sharded: one GPU need not hold it. Only a
    warm start, which trains it whole, takes it there.

    Fresh weights come from the trial's seed; those that a warm start will train, from one seed for all trials, because
    its result is kept and shared.
    """
    c = config.policy
    seed = config.seed if c.warm_start == "none" else WARM_START_SEED
    made = load_policy(c.kind, c.path, init=c.init, dtype=DTYPES[c.dtype], seed=seed, cache=cache_folder())
    whole = workers.size == 1 or c.warm_start != "none"
    made.model.to("cuda" if whole and torch.cuda.is_available() else "cpu")
    return made


@cache
def world_retriever() -> BM25Retriever:
    return BM25Retriever(load_world().passages)


@cache
def world_knowledge() -> WorldKnowledge:
    return WorldKnowledge(load_world())


def world_expert(rates: Mapping[str, float] = MappingProxyType({})) -> SimulatedLLM:
    """The simulated operator LLM of the offline world; `rates` differ from its documented defaults."""
    return SimulatedLLM(world_knowledge(), SimulatedRates.from_mapping(rates))


def operator_llm(config: TrialConfig) -> LLMBackend | None:
    """The model behind the operators; None where the pool has none that would ask it."""
    if not any(OPERATORS[name].needs_llm for name in resolve_pool(config.environment.pool)):
        return None
    backend = config.environment.backend
    match backend:
        case SimulatedBackend():
            return world_expert(backend.rates)
        case EndpointBackend():
            from harness.operators.llm.openai import OpenAIBackend

            return OpenAIBackend(backend)
        case LocalBackend():
            from harness.operators.llm.local import LocalLLM

            return LocalLLM(backend.model, threads=config.threads)


def data(config: TrialConfig, *, training: bool = True) -> TrialData:
    """Training questions, the fixed evaluation questions of each suite, and what Search finds passages with.

    `training`: a folder has to hold questions of every training suite; they are optional where nothing is trained. A
    warm start trains. A corpus file is wanted where BM25 searches it, and where a warm start or a fault needs titles.
    """
    c = config.data
    if c.source == "files":
        return _of(config, *_from_files(config), training=training or config.policy.warm_start != "none")
    world = load_world()
    titles = {p.id: p.title for p in world.passages}
    return _of(config, world, _remote(config) or world_retriever(), titles, tuple(titles.values()))


def _of(
    config: TrialConfig,
    source: World | DataFolder,
    retriever: Retriever,
    titles: Mapping[str, str],
    decoys: Sequence[str],
    training: bool = True,
) -> TrialData:
    c = config.data
    suites = [s for s in c.train_suites if training or isinstance(source, World) or source.holds("train", s)]
    train = tuple(q for suite in suites for q in source.split("train", suite))
    train = subset(train, c.train_questions) if c.train_questions else train
    evaluation = {s: subset(source.split(c.eval_split, s), c.eval_questions) for s in c.eval_suites}
    return TrialData(train, evaluation, retriever, titles, decoys)


def _from_files(config: TrialConfig) -> tuple[DataFolder, Retriever, Mapping[str, str], Sequence[str]]:
    """A folder's questions, their retriever, titles and decoys. Without need of it, no corpus is read."""
    folder = DataFolder(Path(config.data.path or ""))
    faults, warm = config.environment.faults, config.policy.warm_start != "none"
    decoys: Sequence[str] = ()
    retriever = _remote(config)
    if retriever is None:
        retriever, passages = file_retriever(folder.corpus_file(), cache_folder() / "bm25")
        folder = replace(folder, ids_of=passages.ids_of)
        if faults is not None:
            decoys = [passages[i].title for i in range(0, len(passages), -(-len(passages) // DECOYS))]
    elif faults is not None and (folder.corpus_path is not None or "wrong_passage" in faults.kinds):
        decoys = [p.title for p in islice(folder.corpus(), DECOYS)]
    if not warm:  # no supporting passages are needed
        folder = replace(folder, ids_of=lambda titles: {})
    return folder, retriever, folder.supporting_titles(), decoys


def _remote(config: TrialConfig) -> Retriever | None:
    """The retriever that is a service; None: BM25 in this process."""
    from harness.operators.retrieval.http_retrievers import SearchR1Retriever, WebSearchRetriever

    chosen = config.environment.search.retriever
    match chosen:
        case Bm25Settings():
            return None
        case SearchR1Settings():
            return SearchR1Retriever(chosen.url, chosen.form, chosen.http)
        case WebSearchSettings():
            return WebSearchRetriever(chosen.url, chosen.key_variable, chosen.http)


def environment(config: TrialConfig, chat: ChatFormat, data: TrialData) -> Environment:
    """The standard one: no perturbation, no fault."""
    c = config.environment
    toolbox = Toolbox(
        c.pool,
        operator_llm(config),
        data.retriever,
        style=c.style,
        search=c.search,
        observation_chars=c.observation_chars,
    )
    prompt = standard_prompt(c.pool, c.style, _interface(config))
    return Environment(
        prompt.messages("")[0],
        chat,
        toolbox,
        c,
        config.reward,
        prompt.interface,
    )


def _interface(config: TrialConfig) -> ActionInterface:
    c = config.environment
    if c.interface == "code":  # a program's output is an observation like any other
        return CodeInterface(Limits(output_chars=c.observation_chars), compact=c.style == "compact")
    return INTERFACES[c.interface](compact=c.style == "compact")


def training_environment(config: TrialConfig, standard: Environment) -> Environment:
    """The standard environment under the training perturbations, without faults: what a warm start sees."""
    names = [name for entry in config.environment.perturbations.train for name in parts_of(entry)]
    return _perturbed(config, standard, names, config.seed)


def evaluation_variants(config: TrialConfig, standard: Environment, data: TrialData) -> dict[str, Environment]:
    """Environments of further evaluations, by split: `eval_fault`, `eval_prompt_<perturbation>`.

    Their randomness is no trial's: every trial meets the same faults and the same words.
    """
    variants: dict[str, Environment] = {}
    faults = config.environment.faults
    if faults is not None and faults.eval_rate > 0:
        variants[FAULTED] = _with_faults(config, standard, data, faults, faults.eval_rate, VARIANT_SEED)
    for name in config.environment.perturbations.eval:
        variants[PROMPTED + split_of(name)] = _perturbed(config, standard, parts_of(name), VARIANT_SEED)
    return variants


def _perturbed(config: TrialConfig, standard: Environment, names: list[str], seed: int) -> Environment:
    if not names:
        return standard
    c = config.environment
    perturbed = Perturbed(standard_prompt(c.pool, c.style, standard.interface), tuple(names), seed)
    return replace(standard, interface=perturbed.interface, reworded=perturbed.messages)


def with_training_faults(config: TrialConfig, environment: Environment, data: TrialData) -> Environment:
    """`environment` with the faults of training, which are other ones in every trial."""
    faults = config.environment.faults
    if faults is None or faults.train_rate == 0:
        return environment
    return _with_faults(config, environment, data, faults, faults.train_rate, config.seed)


def _with_faults(
    config: TrialConfig, environment: Environment, data: TrialData, faults: Faults, rate: float, seed: int
) -> Environment:
    plan = FaultPlan(faults.kinds, rate, seed, faults.positions)
    knowledge = world_knowledge() if config.data.source == "world" else None
    injector = FaultInjector(environment.operators, plan, knowledge, data.decoys)
    return replace(environment, operators=injector)


def engine(config: TrialConfig, policy: Policy) -> Engine:
    """The engine that samples, holding the policy's weights. Raises EngineError where vLLM is wanted and missing."""
    c = config.engine
    capacity = PROMPT_TOKENS + config.environment.max_response_tokens
    if isinstance(c, BuiltinSettings):
        return BuiltinEngine(policy.model, capacity=capacity, dtype=getattr(torch, config.policy.dtype))
    from harness.engines.remote import RemoteEngine
    from harness.engines.vllm import VllmEngine

    settings = replace(c, max_model_len=c.max_model_len or capacity, dtype=c.dtype or config.policy.dtype)
    if c.placement == "dedicated":
        return RemoteEngine(policy.model, settings, gpus=c.tensor_parallel_size if torch.cuda.is_available() else 0)
    return VllmEngine(policy.model, settings)


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
            "code": code_version(),
        }
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
            cache=cache_folder(),
            key=digest(depends_on)[:16],
        )
    policy = with_lora(start, c.lora, config.seed) if c.lora else start
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


def checkpoints_at(config: TrialConfig, step: int) -> bool:
    """Whether training can go on from `step` after a kill; at the last step there is nothing to go on with."""
    return 0 < step < config.steps and config.checkpoint_every > 0 and step % config.checkpoint_every == 0


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
        provenance={"trial_key": trial_key(resolved, code), "step": step, "code": code, "config": resolved},
    )
