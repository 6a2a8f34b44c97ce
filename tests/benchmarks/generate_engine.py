"""Transformers' `generate` behind the engine interface: what the built-in engine is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from harness.engines.base import Generation, GenerationRequest, SamplingParams


class GenerateEngine:
    """Every context of a call, padded on the left, goes through one `model.generate` with its own key/value cache.

    The usual way to sample turns with transformers: contexts are read again each turn. Log-probs are not computed (they
    read 0.0), which is work spared here and done by the built-in engine.
    """

    def __init__(self, model: Any, pad: int) -> None:
        self._model, self._pad = model, pad

    @torch.no_grad()
    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        width = max(len(r.context) for r in requests)
        tokens = torch.full((len(requests), width), self._pad)
        mask = torch.zeros(len(requests), width, dtype=torch.int64)
        for row, r in enumerate(requests):
            tokens[row, width - len(r.context) :] = torch.as_tensor(r.context)
            mask[row, width - len(r.context) :] = 1
        training = self._model.training
        self._model.eval()
        out = self._model.generate(
            tokens,
            attention_mask=mask,
            do_sample=params.temperature > 0,
            temperature=params.temperature or None,
            top_k=0,
            top_p=1.0,
            max_new_tokens=min(params.max_tokens, max(r.max_tokens for r in requests)),
            eos_token_id=params.stop_token if params.stop_token >= 0 else None,
            pad_token_id=self._pad,
        )
        self._model.train(training)
        return [
            _cut(row.tolist(), params.stop_token, r.max_tokens) for row, r in zip(out[:, width:], requests, strict=True)
        ]

    def release(self, sequence_ids: Sequence[int]) -> None: ...

    def load_weights(self, model: Any) -> None:
        self._model = model


def _cut(sampled: list[int], stop: int, limit: int) -> Generation:
    """What was sampled up to the stop token or the request's own limit; the rest of the row is padding."""
    end = sampled.index(stop) + 1 if stop in sampled else len(sampled)
    tokens = tuple(sampled[: min(end, limit)])
    return Generation(tokens, (0.0,) * len(tokens), tokens[-1] == stop)
