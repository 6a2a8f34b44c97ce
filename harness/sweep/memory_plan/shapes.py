"""Sizes of dense decoders (Qwen2, Llama): from a transformers configuration, or as published where none is on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.policy.policy_settings import PolicySettings

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"


class PlanError(Exception):
    """Memory cannot be estimated; the message gives the reason."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer with grouped-query attention and a gated MLP. `tied`: output layer = embedding."""

    vocab: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    qkv_bias: bool

    @property
    def queries(self) -> int:
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def matrices(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of the linear maps of one layer: q, k, v, o, gate, up, down."""
        h, q, k, i = self.hidden, self.queries, self.keys, self.intermediate
        return (h, q), (h, k), (h, k), (q, h), (h, i), (h, i), (i, h)

    @property
    def layer_matrix_parameters(self) -> int:
        return sum(a * b for a, b in self.matrices)

    @property
    def layer_parameters(self) -> int:
        """Of one layer, with its two norms."""
        bias = self.queries + 2 * self.keys if self.qkv_bias else 0
        return self.layer_matrix_parameters + bias + 2 * self.hidden

    @property
    def outer_parameters(self) -> int:
        """Embedding, output layer and last norm."""
        return self.vocab * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.outer_parameters

    def lora_parameters(self, rank: int) -> int:
        """Of adapters on all linear maps of all layers."""
        return self.layers * rank * sum(a + b for a, b in self.matrices)


def _qwen25(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, *, tied: bool) -> ModelShape:
    vocab = 151_936 if tied else 152_064
    return ModelShape(vocab, hidden, intermediate, layers, heads, kv_heads, 128 if hidden > 896 else 64, tied, True)


PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": _qwen25(896, 4864, 24, 14, 2, tied=True),
    "Qwen/Qwen2.5-1.5B": _qwen25(1536, 8960, 28, 12, 2, tied=True),
    "Qwen/Qwen2.5-3B": _qwen25(2048, 11_008, 36, 16, 2, tied=True),
    "Qwen/Qwen2.5-7B": _qwen25(3584, 18_944, 28, 28, 4, tied=False),
    "Qwen/Qwen2.5-14B": _qwen25(5120, 13_824, 48, 40, 8, tied=False),
    "Qwen/Qwen2.5-32B": _qwen25(5120, 27_648, 64, 40, 8, tied=False),
    SMOLLM2: ModelShape(49_152, 576, 1536, 30, 9, 3, 64, True, False),
}
"""From the models' published `config.json`; Qwen's `-Instruct` models have the shapes of their bases."""


def shape_of_config(config: object) -> ModelShape:
    """From a transformers configuration object. Raises PlanError for other architectures."""
    kind = getattr(config, "model_type", None)
    if kind not in ("qwen2", "llama"):
        raise PlanError(f"memory is planned for qwen2 and llama models, not for {kind!r}")
    c = config.to_dict()  # type: ignore[attr-defined]
    return ModelShape(
        c["vocab_size"],
        c["hidden_size"],
        c["intermediate_size"],
        c["num_hidden_layers"],
        c["num_attention_heads"],
        c["num_key_value_heads"],
        c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"],
        bool(c.get("tie_word_embeddings")),
        kind == "qwen2" or bool(c.get("attention_bias")),
    )


def shape_of(policy: PolicySettings) -> ModelShape:
    """The shape of a trial's policy, without loading it and without the network. Raises PlanError."""
    if policy.kind == "gguf" and policy.path is None:
        return PUBLISHED[SMOLLM2]
    name = policy.path or str(Path(__file__).parents[2] / "policy" / "assets")
    published = PUBLISHED.get(name.removesuffix("-Instruct")) or PUBLISHED.get(name)
    if published is not None:
        return published
    from transformers import AutoConfig

    file = Path(name)
    try:
        if policy.kind == "gguf":
            return shape_of_config(
                AutoConfig.from_pretrained(str(file.parent), gguf_file=file.name, trust_remote_code=False)
            )
        return shape_of_config(AutoConfig.from_pretrained(name, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError) as error:
        known = ", ".join(PUBLISHED)
        raise PlanError(f"the sizes of {name} are not known: it is not on this disk, nor one of {known}") from error
