"""A hand-written forward of the Qwen2/Llama decoder over a preallocated key/value cache.

Why not transformers' own forward: on a small policy its Python and cache overhead cost more than the arithmetic. The
result is the same (tests compare log-probs with transformers to 1e-5); only inference lives here, training does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

PACKED_FOR_ROWS = 16
"""A hint for the block layout of packed weights; any number of rows may be multiplied."""
CACHE_BYTES = 1 << 25
"""Weights above this (32 MB) are packed. Below, a processor's cache holds them, and a plain product starts sooner."""


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """Sizes read from a transformers configuration (Qwen2Config, LlamaConfig)."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    norm_eps: float
    rope_theta: float

    @classmethod
    def of(cls, config: object) -> DecoderShape:
        """Raises ValueError for an architecture whose forward this is not."""
        if getattr(config, "model_type", None) not in ("qwen2", "llama"):
            raise ValueError(
                f"the built-in engine runs qwen2 and llama models, not {getattr(config, 'model_type', None)!r}: "
                "use the vllm engine for it"
            )
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type", "default") != "default":
            raise ValueError(f"the built-in engine has no {rope['rope_type']!r} rotary scaling: use the vllm engine")
        c = config.to_dict()  # type: ignore[attr-defined]
        other = {
            "hidden_act": c.get("hidden_act", "silu") != "silu",
            "use_sliding_window": "sliding_attention" in (c.get("layer_types") or ()),
            "partial_rotary_factor": rope.get("partial_rotary_factor", c.get("partial_rotary_factor") or 1) != 1,
        }
        if any(other.values()):
            refused = ", ".join(name for name, differs in other.items() if differs)
            raise ValueError(f"the built-in engine does not compute this model's {refused}: use the vllm engine")
        head_dim = c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
        theta = rope.get("rope_theta") or c.get("rope_theta") or 10000.0
        return cls(
            c["vocab_size"],
            c["hidden_size"],
            c["num_hidden_layers"],
            c["num_attention_heads"],
            c["num_key_value_heads"],
            head_dim,
            c["rms_norm_eps"],
            theta,
        )


class KVCache:
    """Keys and values of `rows` sequences of at most `capacity` tokens.

    Two tensors of shape [layers, rows, kv_heads, capacity, head_dim].
    """

    def __init__(self, shape: DecoderShape, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> None:
        size = (shape.layers, rows, shape.kv_heads, capacity, shape.head_dim)
        self.keys, self.values = (torch.zeros(size, dtype=dtype, device=device) for _ in range(2))
        self.rows, self.capacity = rows, capacity

    def copy_row(self, source: int, target: Tensor, length: int) -> None:
        """Give rows `target` (int64 [n]) the first `length` positions of row `source`."""
        for t in (self.keys, self.values):
            t[:, target, :, :length] = t[:, source : source + 1, :, :length].expand(-1, len(target), -1, -1, -1)

    def swap_rows(self, a: int, b: int, length: int) -> None:
        for t in (self.keys, self.values):
            kept = t[:, a, :, :length].clone()
            t[:, a, :, :length] = t[:, b, :, :length]
            t[:, b, :, :length] = kept


class Linear:
    """y = x Wᵀ + b with the weight [out, in] laid out once for oneDNN.

    Decoding multiplies few rows by every weight, so it runs at the speed of memory: a weight in the product's own block
    layout is read up to 2.5 times as fast as a plain one, which each product would rearrange again. The two operators
    are those that torch.compile's freezing inserts; where a build of torch lacks them, or the processor a type, the
    product is torch's ordinary one.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, packed: bool) -> None:
        self._bias, self._weight = bias, weight
        self._packed = packed and weight.device.type == "cpu" and weight.dtype == torch.float32 and _can_pack()
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
        return F.linear(x, self._weight, self._bias)


@cache
def _can_pack() -> bool:
    ops = torch.ops.mkldnn
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(ops, "_reorder_linear_weight")
        and hasattr(ops, "_linear_pointwise")
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    in_norm: Tensor
    qkv: Linear
    out: Linear
    post_norm: Tensor
    gate_up: Linear
    down: Linear


class Decoder:
    """Weights fused for inference (one matrix for q, k, v; one for gate and up), and the forward over them.

    It runs on the `device` of the weights it was given last.
    """

    def __init__(self, config: object, dtype: torch.dtype, max_positions: int) -> None:
        self.shape, self.dtype, self.device = DecoderShape.of(config), dtype, torch.device("cpu")
        s = self.shape
        inverse = 1.0 / (s.rope_theta ** (torch.arange(0, s.head_dim, 2, dtype=torch.float64) / s.head_dim))
        angles = torch.outer(torch.arange(max_positions, dtype=torch.float64), inverse)
        self.cos = torch.cat([angles.cos(), angles.cos()], -1).to(dtype)
        self.sin = torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)  # sign folded in: rotate_half is a swap
        self.layers: list[_Layer] = []
        self.embedding = self.norm = torch.empty(0)
        self.head = Linear(torch.empty(0), None, packed=False)

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Copy the state dict of a transformers causal LM whose parameter names are the Qwen2/Llama ones.

        Raises ValueError for a weight that the forward has no place for.
        """
        w, used = weights, {"lm_head.weight"}

        def get(*names: str) -> Tensor:
            used.update(names)
            return torch.cat([w[name].to(self.dtype) for name in names])

        def linear(*names: str) -> Linear:
            """Several projections of one input as one matrix; those without a bias get zeros beside those with one."""
            biases = [name + ".bias" for name in names]
            used.update(biases)
            bias = None
            if any(name in w for name in biases):
                rows = [w[name + ".weight"] for name in names]
                bias = torch.cat(
                    [w.get(b, r.new_zeros(len(r))).to(self.dtype) for b, r in zip(biases, rows, strict=True)]
                )
            return Linear(get(*(name + ".weight" for name in names)), bias, packed)

        self.embedding, self.norm = get("model.embed_tokens.weight"), get("model.norm.weight")
        self.device = self.embedding.device
        self.cos, self.sin = self.cos.to(self.device), self.sin.to(self.device)
        packed = sum(t.numel() for t in w.values()) * self.dtype.itemsize > CACHE_BYTES
        tied = "lm_head.weight" not in w or w["lm_head.weight"].data_ptr() == w["model.embed_tokens.weight"].data_ptr()
        self.head = Linear(self.embedding, None, packed) if tied else linear("lm_head")
        self.layers = []
        for i in range(self.shape.layers):
            p = f"model.layers.{i}."
            a, m = p + "self_attn.", p + "mlp."
            self.layers.append(
                _Layer(
                    in_norm=get(p + "input_layernorm.weight"),
                    qkv=linear(a + "q_proj", a + "k_proj", a + "v_proj"),
                    out=linear(a + "o_proj"),
                    post_norm=get(p + "post_attention_layernorm.weight"),
                    gate_up=linear(m + "gate_proj", m + "up_proj"),
                    down=linear(m + "down_proj"),
                )
            )
        foreign = [name for name in w if name not in used and not name.endswith("rotary_emb.inv_freq")]
        if foreign:
            raise ValueError(f"the built-in engine has no place for {', '.join(foreign[:3])}: use the vllm engine")

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = self.shape.head_dim // 2
        return x * cos + torch.cat([x[..., half:], x[..., :half]], -1) * sin

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (self.shape.hidden,), weight, self.shape.norm_eps)

    @torch.inference_mode()
    def forward(self, tokens: Tensor, cached: Tensor, n_new: Tensor, rows: Tensor | slice, cache: KVCache) -> Tensor:
        """Hidden state after each row's last new token, [n, hidden]; keys and values of the new tokens enter the cache.

        tokens int64 [n, m], right-padded; cached int64 [n], tokens already in the cache; n_new int64 [n], how many of
        the m are real; rows: the cache rows of the n sequences (a slice when they are contiguous: no copy is made).
        They come in main memory, where their largest is known without waiting for a GPU.
        """
        s, (n, m), device = self.shape, tokens.shape, self.device
        span = int((cached + n_new).max())
        tokens, cached, n_new = (t.to(device) for t in (tokens, cached, n_new))
        rows = rows if isinstance(rows, slice) else rows.to(device)
        positions = (cached[:, None] + torch.arange(m, device=device)).clamp_(max=cache.capacity - 1)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        # additive, as the kernel wants it: a boolean mask would be converted in every layer
        mask = (
            torch.zeros(1, dtype=self.dtype, device=device)
            .expand(n, m, span)
            .masked_fill(torch.arange(span, device=device) > positions[..., None], -torch.inf)
        )
        every, last = torch.arange(n, device=device), n_new - 1
        # query heads that share a key head ride on the query axis, so keys are never repeated
        group = s.heads // s.kv_heads
        mask, last_mask = (t.repeat(1, group, 1)[:, None] for t in (mask, mask[every, last][:, None]))
        row_index = every[:, None] if isinstance(rows, slice) else rows[:, None]
        x = F.embedding(tokens, self.embedding)
        for i, w in enumerate(self.layers):
            qkv = w.qkv(self._norm(x, w.in_norm)).view(n, m, s.heads + 2 * s.kv_heads, s.head_dim).transpose(1, 2)
            qk = self._rotate(qkv[:, : s.heads + s.kv_heads], cos, sin)
            keys, values = cache.keys[i], cache.values[i]
            keys[row_index, :, positions] = qk[:, s.heads :].transpose(1, 2)
            values[row_index, :, positions] = qkv[:, s.heads + s.kv_heads :].transpose(1, 2)
            q = qk[:, : s.heads]
            if i == len(self.layers) - 1 and m > 1:  # what follows is asked of the last tokens alone
                x, q, mask = x[every, last][:, None], q[every, :, last][:, :, None], last_mask
            x = x + w.out(self._attend(q, keys[rows, :, :span], values[rows, :, :span], mask))
            gate, up = w.gate_up(self._norm(x, w.post_norm)).chunk(2, -1)
            x = x + w.down(F.silu(gate).mul_(up))
        return self._norm(x[:, 0], self.norm)

    def _attend(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """q [n, heads, m, d]; keys, values [n, kv_heads, span, d]; mask [n, 1, group m, span]; to [n, m, heads d]."""
        n, heads, m, d = q.shape
        folded = q.reshape(n, keys.shape[1], -1, d)
        a = F.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
        return a.reshape(n, heads, m, d).transpose(1, 2).reshape(n, m, heads * d)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[n, vocab] in float32."""
        return self.head(hidden).float()
