"""The built-in engine: batched multi-turn generation with one KV row a sequence, on the device of the policy.

Rows of sequences still generating are kept at the front of the cache (a finished row trades places with the last
active one), so a decoding step never gathers or copies keys. Sequences that start with the same prompt share its
prefill.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.engines.decoder import Decoder, KVCache
from harness.engines.stop_strings import StopStrings
from harness.engines.weights import plain_state_dict

GROWTH = 128
"""The cache grows by this many positions, so that memory follows what episodes need, not what they might."""
PREFILL_TOKENS = 2048
"""Padded tokens of one prefill call: bounds the memory of its activations, and keeps them near the processor."""


def uniforms(seeds: Sequence[int], n: int) -> Tensor:
    """One stream of n uniforms in [0, 1) a seed, float64 [len(seeds), n]; a stream depends on its seed alone."""
    return torch.from_numpy(np.stack([np.random.Generator(np.random.Philox(key=s)).random(n) for s in seeds]))


def sample(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Tokens int64 [n] drawn by inverting the CDF of softmax(logits / temperature), and their log-probs float32 [n].

    Temperature 0 takes the most likely token; its log-prob is the temperature-1 one.
    """
    logp = torch.log_softmax(logits / temperature if temperature > 0 else logits, -1)
    if temperature > 0:
        cdf = logp.exp().cumsum(-1, dtype=torch.float64)
        # scaled by the last entry: rounding must not leave a sliver of u without a token
        tokens = torch.searchsorted(cdf, (uniform * cdf[:, -1])[:, None], right=True).squeeze(-1)
        tokens.clamp_(max=logits.shape[-1] - 1)
    else:
        tokens = logits.argmax(-1)
    return tokens, logp.gather(-1, tokens[:, None]).squeeze(-1)


class BuiltinEngine:
    """See the module's first lines. `capacity` is the longest sequence (prompt and response) in tokens."""

    def __init__(self, model: nn.Module, *, capacity: int, dtype: torch.dtype = torch.float32) -> None:
        self._decoder = Decoder(model.config, dtype, capacity)
        self._capacity, self._dtype = capacity, dtype
        self._cache: KVCache | None = None
        self._order: list[int] = []  # sequence id of each row in use
        self._lengths: dict[int, int] = {}  # tokens in the cache by sequence id
        self.load_weights(model)

    def load_weights(self, model: nn.Module) -> None:
        self._decoder.load(plain_state_dict(model))
        self.release(list(self._order))

    def sleep(self) -> None:
        """Free the keys and values on a GPU. In main memory they stay, for the next rollouts; the weights are small."""
        if self._decoder.device.type == "cuda":
            self.release(list(self._order))
            self._cache = None

    def release(self, sequence_ids: Sequence[int]) -> None:
        for sid in sequence_ids:
            row = self._order.index(sid)
            self._swap(row, len(self._order) - 1)
            self._order.pop()
            del self._lengths[sid]

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        if not requests:
            return []
        budget = {
            r.sequence_id: min(r.max_tokens, params.max_tokens, self._capacity - len(r.context)) for r in requests
        }
        if min(budget.values()) < 1:
            raise ValueError(f"a sequence has no room left in the engine's {self._capacity} tokens")
        self._admit(requests, max(len(r.context) + budget[r.sequence_id] for r in requests))
        for row, request in enumerate(requests):  # rows 0..n-1 become these sequences
            self._swap(self._order.index(request.sequence_id), row)
        hidden = self._prefill(requests)
        noise = dict(
            zip(
                (r.sequence_id for r in requests), uniforms([r.seed for r in requests], params.max_tokens), strict=False
            )
        )
        return self._decode(requests, hidden, noise, budget, params)

    def _admit(self, requests: Sequence[GenerationRequest], longest: int) -> None:
        """Give new sequences a row; grow the cache to as many rows and positions as this call needs."""
        new = [r for r in requests if r.sequence_id not in self._lengths]
        rows, positions = len(self._order) + len(new), min(-(-longest // GROWTH) * GROWTH, self._capacity)
        old = self._cache
        if old is None or old.rows < rows or old.capacity < positions:
            if old is not None:
                rows, positions = max(rows, old.rows), max(positions, old.capacity)
            self._cache = KVCache(self._decoder.shape, rows, positions, self._dtype, self._decoder.device)
            if old is not None:
                self._cache.keys[:, : old.rows, :, : old.capacity] = old.keys
                self._cache.values[:, : old.rows, :, : old.capacity] = old.values
        for r in new:
            self._order.append(r.sequence_id)
            self._lengths[r.sequence_id] = 0

    def _swap(self, a: int, b: int) -> None:
        if a == b:
            return
        assert self._cache is not None
        ida, idb = self._order[a], self._order[b]
        self._cache.swap_rows(a, b, max(self._lengths[ida], self._lengths[idb]))
        self._order[a], self._order[b] = idb, ida

    def _prefill(self, requests: Sequence[GenerationRequest]) -> Tensor:
        """Bring every context into the cache; the hidden state after its last token, [n, hidden]."""
        assert self._cache is not None
        hidden = torch.empty(len(requests), self._decoder.shape.hidden, dtype=self._dtype, device=self._decoder.device)
        # A fresh sequence with the same context as an earlier one of this call copies its keys and values.
        leader_of: dict[tuple[int, ...], int] = {}
        followers: dict[int, list[int]] = {}
        todo: list[int] = []
        for row, r in enumerate(requests):
            if self._lengths[r.sequence_id] == 0:
                leader = leader_of.setdefault(tuple(r.context), row)
                if leader != row:
                    followers.setdefault(leader, []).append(row)
                    continue
            todo.append(row)
        fresh = {row: len(requests[row].context) - self._lengths[requests[row].sequence_id] for row in todo}
        if min(fresh.values()) < 1:
            raise ValueError("a request's context has no token beyond what the engine already read of it")
        todo.sort(key=lambda row: fresh[row])
        while todo:
            width, count = fresh[todo[-1]], 1
            while count < len(todo) and (count + 1) * width <= PREFILL_TOKENS:
                count += 1
            batch = todo[-count:]
            del todo[-count:]
            tokens = torch.zeros(count, width, dtype=torch.int64)
            cached = torch.tensor([self._lengths[requests[r].sequence_id] for r in batch])
            for i, row in enumerate(batch):
                tokens[i, : fresh[row]] = torch.as_tensor(requests[row].context[int(cached[i]) :])
            rows = torch.tensor(batch)
            hidden[rows] = self._decoder.forward(
                tokens, cached, torch.tensor([fresh[r] for r in batch]), rows, self._cache
            )
        for leader, rows_ in followers.items():
            target = torch.tensor(rows_)
            self._cache.copy_row(leader, target, len(requests[leader].context))
            hidden[target] = hidden[leader].clone()
        for r in requests:
            self._lengths[r.sequence_id] = len(r.context)
        return hidden

    def _decode(
        self,
        requests: Sequence[GenerationRequest],
        hidden: Tensor,
        noise: dict[int, Tensor],
        budget: dict[int, int],
        params: SamplingParams,
    ) -> list[Generation]:
        assert self._cache is not None
        tokens: dict[int, list[int]] = {r.sequence_id: [] for r in requests}
        logps: dict[int, list[float]] = {r.sequence_id: [] for r in requests}
        stopped: set[int] = set()
        strings = StopStrings(params.stop, params.text) if params.stop and params.text else None
        n = len(requests)
        lengths = torch.tensor([self._lengths[sid] for sid in self._order[:n]])
        draws = torch.stack([noise[sid] for sid in self._order[:n]])
        step = 0
        while True:
            uniform = draws[:n, step].to(self._decoder.device)
            drawn, logp = (t.cpu() for t in sample(self._decoder.logits(hidden), uniform, params.temperature))
            step += 1
            done: list[int] = []
            for row, (sid, t, lp) in enumerate(zip(self._order[:n], drawn.tolist(), logp.tolist(), strict=False)):
                tokens[sid].append(t)
                logps[sid].append(min(lp, 0.0))
                if t == params.stop_token or (strings is not None and strings.end(tokens[sid], step - 1)):
                    stopped.add(sid)
                    done.append(row)
                elif step >= budget[sid]:
                    done.append(row)
            for row in reversed(done):  # from the back, so that a swapped-in row is never a finished one
                n -= 1
                self._lengths[self._order[row]] = int(lengths[row])
                if row != n:
                    self._lengths[self._order[n]] = int(lengths[n])
                    self._swap(row, n)
                    for t_ in (drawn, lengths, draws):
                        t_[row] = t_[n]
            if n == 0:
                break
            hidden = self._decoder.forward(
                drawn[:n, None], lengths[:n], torch.ones(n, dtype=torch.int64), slice(0, n), self._cache
            )
            lengths[:n] += 1
        return [
            Generation(tuple(tokens[r.sequence_id]), tuple(logps[r.sequence_id]), r.sequence_id in stopped)
            for r in requests
        ]
