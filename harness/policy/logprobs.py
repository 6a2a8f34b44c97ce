"""Log-probabilities and entropies of given tokens from hidden states, without ever holding [tokens x vocabulary].

The output layer of a language model is its largest activation by far (8,192 tokens x 152,000 words in float32 is 5 GB).
Here it is computed chunk by chunk, and the backward pass computes each chunk again instead of storing it.
"""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 27}
"""Logits held at once, by device: 32 MB in float32, which stay near a processor, or 512 MB, which fill a GPU."""


class _ChunkedLogProbs(torch.autograd.Function):
    """logp_t = (h_t·W[y_t])/T − logsumexp(h_t·Wᵀ/T); d logp_t/dh_t = (W[y_t] − p_t·W)/T; dW accumulates over chunks."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        n = hidden.shape[0]
        acc = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        logp, entropy, lse = (torch.empty(n, dtype=acc, device=hidden.device) for _ in range(3))
        # With a frozen head (LoRA) nothing but the hidden state needs a gradient: taking it here saves a second pass.
        frozen = not ctx.needs_input_grad[1]
        grad_hidden = torch.empty_like(hidden) if frozen and ctx.needs_input_grad[0] else None
        for rows in _chunks(n, weight):
            logits = (hidden[rows] @ weight.T).to(acc) / temperature
            lse[rows] = torch.logsumexp(logits, -1)
            logp[rows] = logits.gather(-1, targets[rows, None]).squeeze(-1) - lse[rows]
            p = (logits - lse[rows, None]).exp_()
            entropy[rows] = lse[rows] - (p * logits).sum(-1)
            if grad_hidden is not None:
                grad_hidden[rows] = (weight[targets[rows]] - p.to(weight.dtype) @ weight) / temperature
        ctx.save_for_backward(grad_hidden if frozen else hidden, weight, targets, lse)
        ctx.temperature, ctx.frozen = temperature, frozen
        ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp: Tensor, _: Tensor):  # type: ignore[no-untyped-def, override]
        saved, weight, targets, lse = ctx.saved_tensors
        if ctx.frozen:
            return (saved * grad_logp[:, None].to(saved.dtype) if saved is not None else None), None, None, None
        hidden, temperature = saved, ctx.temperature
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight)
        for rows in _chunks(hidden.shape[0], weight):
            g = ((hidden[rows] @ weight.T).to(lse.dtype) / temperature - lse[rows, None]).exp_().neg_()
            g.scatter_add_(-1, targets[rows, None], torch.ones_like(g[:, :1]))
            g = (g * (grad_logp[rows, None] / temperature)).to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = g @ weight
            grad_weight.addmm_(g.T, hidden[rows])
        return grad_hidden, grad_weight, None, None


def _chunks(n: int, weight: Tensor) -> list[slice]:
    size = max(1, CHUNK_ELEMENTS[weight.device.type] // weight.shape[0])
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def token_logprobs(hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-prob of each target and entropy of its distribution (nats; no gradient through the entropy), both [T].

    hidden [T, H] is the state that predicts the target, weight [V, H] the output layer, targets int64 [T]. Result in
    float32, or float64 for float64 input.
    """
    return _ChunkedLogProbs.apply(hidden, weight, targets, temperature)
