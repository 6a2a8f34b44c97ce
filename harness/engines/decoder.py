"""A hand-written forward of the Qwen2/Llama decoder over a preallocated key/value cache.

Why not transformers' own forward: on a small policy its Python and cache overhead cost more than the arithmetic. The
result is the same (tests compare log-probs with transformers to 1e-5); only inference lives here, training does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


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

    def __init__(self, shape: DecoderShape, rows: int, capacity: int, dtype: torch.dtype) -> None:
        size = (shape.layers, rows, shape.kv_heads, capacity, shape.head_dim)
        self.keys, self.values = torch.zeros(size, dtype=dtype), torch.zeros(size, dtype=dtype)
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


class Decoder:
    """Weights fused for inference (one matrix for q, k, v; one for gate and up), and the forward over them."""

    def __init__(self, config: object, dtype: torch.dtype, max_positions: int) -> None:
        self.shape, self.dtype = DecoderShape.of(config), dtype
        s = self.shape
        inverse = 1.0 / (s.rope_theta ** (torch.arange(0, s.head_dim, 2, dtype=torch.float64) / s.head_dim))
        angles = torch.outer(torch.arange(max_positions, dtype=torch.float64), inverse)
        self.cos = torch.cat([angles.cos(), angles.cos()], -1).to(dtype)
        self.sin = torch.cat([-angles.sin(), angles.sin()], -1).to(dtype)  # sign folded in: rotate_half is a swap
        self.layers: list[dict[str, Tensor]] = []
        self.embedding = self.head = self.norm = torch.empty(0)

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor]) -> None:
        """Copy the state dict of a transformers causal LM whose parameter names are the Qwen2/Llama ones."""
        w = weights

        def get(name: str) -> Tensor:
            return w[name].to(self.dtype)

        self.embedding, self.norm = get("model.embed_tokens.weight").clone(), get("model.norm.weight").clone()
        tied = "lm_head.weight" not in w or w["lm_head.weight"].data_ptr() == w["model.embed_tokens.weight"].data_ptr()
        self.head = self.embedding if tied else get("lm_head.weight").clone()
        self.layers = []
        for i in range(self.shape.layers):
            p = f"model.layers.{i}."
            a, m = p + "self_attn.", p + "mlp."
            bias = a + "q_proj.bias" in w
            self.layers.append(
                {
                    "in_norm": get(p + "input_layernorm.weight").clone(),
                    "qkv": torch.cat([get(a + f"{x}_proj.weight") for x in "qkv"]),
                    "qkv_bias": torch.cat([get(a + f"{x}_proj.bias") for x in "qkv"]) if bias else torch.empty(0),
                    "out": get(a + "o_proj.weight").clone(),
                    "post_norm": get(p + "post_attention_layernorm.weight").clone(),
                    "gate_up": torch.cat([get(m + "gate_proj.weight"), get(m + "up_proj.weight")]),
                    "down": get(m + "down_proj.weight").clone(),
                }
            )

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
        """
        s, (n, m) = self.shape, tokens.shape
        group = s.heads // s.kv_heads
        positions = (cached[:, None] + torch.arange(m)).clamp_(max=cache.capacity - 1)
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        span = int((cached + n_new).max())
        mask = (torch.arange(span) <= positions[..., None])[:, None]  # [n, 1, m, span]
        if m == 1:  # the query heads of a group ride on the query axis, so keys are never repeated
            mask = mask.expand(n, 1, group, span)
        row_index = torch.arange(n)[:, None] if isinstance(rows, slice) else rows[:, None]
        x = F.embedding(tokens, self.embedding)
        for i, w in enumerate(self.layers):
            h = self._norm(x, w["in_norm"])
            qkv = F.linear(h, w["qkv"], w["qkv_bias"] if w["qkv_bias"].numel() else None)
            qkv = qkv.view(n, m, s.heads + 2 * s.kv_heads, s.head_dim).transpose(1, 2)
            qk = self._rotate(qkv[:, : s.heads + s.kv_heads], cos, sin)
            keys, values = cache.keys[i], cache.values[i]
            keys[row_index, :, positions] = qk[:, s.heads :].transpose(1, 2)
            values[row_index, :, positions] = qkv[:, s.heads + s.kv_heads :].transpose(1, 2)
            q, k, v = qk[:, : s.heads], keys[rows, :, :span], values[rows, :, :span]
            if m == 1:
                q = q.reshape(n, s.kv_heads, group, s.head_dim)
                a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
                a = a.reshape(n, 1, s.heads * s.head_dim)
            else:
                a = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=group > 1)
                a = a.transpose(1, 2).reshape(n, m, s.heads * s.head_dim)
            x = x + F.linear(a, w["out"])
            gate, up = F.linear(self._norm(x, w["post_norm"]), w["gate_up"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, w["down"])
        last = x[torch.arange(n), n_new - 1] if m > 1 else x[:, 0]
        return self._norm(last, self.norm)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[n, vocab] in float32."""
        return F.linear(hidden, self.head).float()
