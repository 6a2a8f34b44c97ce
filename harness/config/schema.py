"""Configuration of one training run. Rooms declare their own settings as plain dataclasses; this composes them.

The tree is frozen and has no defaults except where a setting may be absent: profiles hold the values, so that one
file shows all of a trial's settings. Unknown keys and wrong types are errors (no string is read as a number).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticKnownError

from harness.engines.engine_settings import EngineSettings, VllmSettings
from harness.env.environment_settings import EnvironmentSettings
from harness.env.turn_rewards import TURN_REWARDS
from harness.objectives.advantages import ADVANTAGES
from harness.objectives.clip_settings import ClipSettings
from harness.objectives.presets import PRESETS
from harness.objectives.ratio_units import RATIO_UNITS
from harness.objectives.reductions import REDUCTIONS
from harness.objectives.surrogates import SURROGATES
from harness.objectives.turn_credit import COMPARISONS, RETURNS, SCALES, TELESCOPED_SCALES, Counts
from harness.policy.policy_settings import PolicySettings
from harness.protocol.reward import RewardWeights
from harness.tasks.question_settings import DataSettings
from harness.types import Count, Fraction, NaturalNumber, NonNegative, Positive, SmallCount
from harness.types.own_code import names_function

MAX_STEPS = 999_999
"""Names of episode files, checkpoints and policies hold six digits of a step."""


class Section(BaseModel):
    """Base of every section that is declared here: frozen, strict, no unknown keys. Dataclasses within inherit that."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


def registered(registry: Collection[str], *, or_own: bool = False) -> BeforeValidator:
    """Validator of a key of `registry`, or of one's own function if `or_own`, with the error of a Literal."""
    *first, last = (repr(name) for name in [*registry, *(["package.module:function"] if or_own else [])])
    expected = f"{', '.join(first)} or {last}"

    def check(name: Any) -> Any:
        if not isinstance(name, str) or not (name in registry or (or_own and names_function(name))):
            raise PydanticKnownError("literal_error", {"expected": expected})
        return name

    return BeforeValidator(check)


class Credit(Section):
    """Turn credit: a second advantage, one a turn, added to the trajectory's (`harness/objectives/turn_credit.py`)."""

    source: Annotated[str, registered(TURN_REWARDS, or_own=True)]
    """Reward of a turn (`harness/env/turn_rewards.py`), or one's own function of a trajectory."""
    returns: Annotated[str, registered(RETURNS)]
    """From a turn's and later rewards to its return."""
    group: Annotated[str, registered(COMPARISONS)]
    """Turns that a return is compared with."""
    scale: Annotated[str, registered(SCALES)]
    counts: Counts = "unit"
    """What counts once in a group's mean and standard deviation."""
    normalize: Literal["returns", "rewards"] = "returns"
    """rewards: before they are summed, as published for MT-GRPO by turn index; biased where the policy may stop."""
    turns: Literal["all", "before_result"] = "all"
    """before_result: credit for the turns up to the first operator call alone."""
    discount: Fraction = 1.0
    trace: Fraction = 0.0
    """lambda of GAE over turns, of telescoped returns."""
    weight: Positive = 1.0

    @field_validator("scale", "normalize", "discount", "trace")
    @classmethod
    def _takes_effect(cls, value: Any, info: ValidationInfo) -> Any:
        returns = info.data.get("returns")
        match info.field_name:
            case "scale" if returns == "telescoped" and value not in TELESCOPED_SCALES:
                raise ValueError(f"telescoped returns are scaled by {' or '.join(TELESCOPED_SCALES)}, not {value}")
            case "normalize" if returns == "telescoped" and value == "rewards":
                raise ValueError("telescoped returns normalize no rewards")
            case "discount" if returns == "broadcast" and value != 1:
                raise ValueError("no effect: returns is broadcast")
            case "trace" if returns in ("broadcast", "to_go") and value:
                raise ValueError(f"no effect: returns is {returns}")
        return value


class Objective(Section):
    """The loss: ratio unit, reduction over segments, clip band, surrogate, advantage, turn credit, KL weight. A preset
    fills all but the last."""

    preset: Annotated[str, registered(PRESETS)] | None
    ratio_unit: Annotated[str, registered(RATIO_UNITS)]
    reduction: Annotated[str, registered(REDUCTIONS)]
    clip: ClipSettings
    surrogate: Annotated[str, registered(SURROGATES, or_own=True)] = "min_clip"
    """A segment's part of the loss, from its ratio and advantage; one's own as `package.module:function`."""
    credit: Credit | None = None
    """Turn credit; null: trajectory advantages alone."""
    advantage: Annotated[str, registered(ADVANTAGES, or_own=True)] = "group_relative"
    """From a minibatch's rewards and groups to one advantage a trajectory; one's own as for the surrogate."""
    kl_weight: NonNegative
    """Weight of the token-level k3 estimator of KL to the start policy."""
    importance_cap: Positive | None = None
    """Weigh segments by min(trainer / sampler probability, this): for engines whose log-probs differ; null: off."""
    credit_shuffle: Fraction = 0.0
    """Probability that a group's advantages are permuted among its episodes (with turn credit: among their turns): a
    handicap of known dose, for assays."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, value: Any) -> Any:
        name = value.get("preset") if isinstance(value, dict) else None
        if name is None:
            return value
        # an unknown preset is an error of its own field: fill something, so that it is the only message
        preset = PRESETS.get(name if isinstance(name, str) else "", PRESETS["grpo"])
        band = {"low": preset.band.low, "high": preset.band.high}
        axes = {"ratio_unit": preset.ratio_unit, "reduction": preset.reduction, "clip": band}
        filled = axes | {"surrogate": preset.surrogate, "advantage": preset.advantage, **value}
        if isinstance(value.get("clip"), dict):
            filled["clip"] = {**band, **value["clip"]}
        if preset.credit is not None and isinstance(given := value.get("credit", {}), dict):
            filled["credit"] = {**preset.credit, **given}
        return filled

    @field_validator("advantage")
    @classmethod
    def _is_something(cls, value: str, info: ValidationInfo) -> str:
        if value == "none" and info.data.get("credit", False) is None:
            raise ValueError("none needs turn credit (objective.credit): nothing would be learned")
        return value


class Rollout(Section):
    prompts_per_step: Annotated[int, Field(ge=1, le=10**5)]
    group_size: Annotated[int, Field(ge=2, le=10**4)]
    """Episodes per question; advantages are relative to their group, so at least two."""
    temperature: Positive
    stream: NaturalNumber = 0
    """Further seed of sampled tokens and operators' draws: trials of one seed and different streams meet the same
    questions in the same order, in other episodes."""


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
    """Policies that a trial exports as folders for transformers, PEFT and vLLM."""

    when: Literal["none", "final", "every"]
    """final: the trained one; every: one at each evaluation."""
    merged: bool
    """With LoRA: a model with the adapter folded in beside the adapter, not the adapter alone."""


class BranchPoint(Section):
    """Where a trial continues another one's training. Set by a sweep's `branch`."""

    after: Count
    trunk: str
    """Digest of the other trial's configuration, the seed apart (which is this one's)."""


class TrialConfig(Section):
    """Everything that determines one training run, together with the code."""

    profile: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS)]
    eval_every: Count
    """Steps between evaluations; the start (step 0, or the branch point) and the last step are always evaluated."""
    checkpoint_every: NaturalNumber
    """Steps between checkpoints; a killed trial resumes from the last. 0: no checkpoints, it restarts."""
    threads: SmallCount
    policy: PolicySettings
    data: DataSettings
    environment: EnvironmentSettings
    reward: RewardWeights
    objective: Objective
    engine: Annotated[EngineSettings, Field(discriminator="kind")]
    """What samples the rollouts."""
    rollout: Rollout
    update: Update
    save: Save
    branch: BranchPoint | None = None
    """null: training starts at step 0."""
    keep_state: bool = False
    """Keep the training state after the last step, which other trials branch from."""

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        longest = self.engine.max_model_len if isinstance(self.engine, VllmSettings) else None
        if longest is not None and longest <= self.environment.max_response_tokens:
            raise ValueError(
                "engine.max_model_len leaves no room for a prompt: environment.max_response_tokens fill it"
            )
        if self.update.updates_per_batch > self.rollout.prompts_per_step:
            raise ValueError(
                "update.updates_per_batch exceeds rollout.prompts_per_step: an update would have no prompt"
            )
        credit, r = self.objective.credit, self.reward
        divided = credit is not None and credit.scale == "mean" and credit.source == "outcome"
        if divided and (r.format_penalty or r.no_answer_penalty or r.call_cost):
            raise ValueError("objective.credit.scale: mean needs rewards of at least 0: no penalty, no call_cost")
        return self

    @property
    def start_step(self) -> int:
        """The step before the first one that is trained: 0, or the branch point."""
        return self.branch.after if self.branch is not None else 0

    @property
    def trained_steps(self) -> int:
        """Steps that this trial trains itself."""
        return self.steps - self.start_step

    def evaluates_at(self, step: int) -> bool:
        """Whether the policy after `step` updates is evaluated."""
        return step in (self.start_step, self.steps) or step % self.eval_every == 0

    def saves_at(self, step: int) -> bool:
        """Whether the policy after `step` updates is to be kept."""
        match self.save.when:
            case "none":
                return False
            case "final":
                return step == self.steps
            case "every":
                return step == self.steps or step % self.eval_every == 0

    def checkpoints_at(self, step: int) -> bool:
        """Whether the training state after `step` is kept: to resume from after a kill, or to branch from."""
        if self.keep_state and step == self.steps:
            return True
        return self.start_step < step < self.steps and self.checkpoint_every > 0 and step % self.checkpoint_every == 0
