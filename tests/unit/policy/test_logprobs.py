"""Chunked log-probs against the naive computation, values and gradients."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.policy import logprobs


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_equal_the_naive_loss(
    monkeypatch: pytest.MonkeyPatch, frozen: bool, temperature: float
) -> None:
    monkeypatch.setitem(logprobs.CHUNK_ELEMENTS, "cpu", 5 * 31)  # several ragged chunks
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, dtype=torch.float64, generator=g, requires_grad=True)
    weight = torch.randn(31, 8, dtype=torch.float64, generator=g, requires_grad=not frozen)
    targets, upstream = torch.randint(31, (23,), generator=g), torch.randn(23, dtype=torch.float64, generator=g)
    logp, entropy = logprobs.token_logprobs(hidden, weight, targets, temperature)
    wanted = [hidden] if frozen else [hidden, weight]
    got = torch.autograd.grad(logp @ upstream, wanted)
    full = torch.log_softmax(hidden @ weight.T / temperature, -1)
    naive = full.gather(-1, targets[:, None]).squeeze(-1)
    expected = torch.autograd.grad(naive @ upstream, wanted)
    torch.testing.assert_close(logp, naive, atol=1e-12, rtol=0)
    torch.testing.assert_close(entropy, -(full.exp() * full).sum(-1), atol=1e-12, rtol=0)
    for a, b in zip(got, expected, strict=False):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_a_gpu_takes_longer_chunks_of_the_output_layer_than_a_processor() -> None:
    def rows(device: str) -> list[int]:
        weight: Any = SimpleNamespace(device=SimpleNamespace(type=device), shape=(152_064, 3584))
        chunks = logprobs._chunks(1000, weight)
        assert chunks[0].start == 0
        assert chunks[-1].stop == 1000
        return [c.stop - c.start for c in chunks]

    assert max(rows("cpu")) == 55
    assert max(rows("cuda")) == 882
