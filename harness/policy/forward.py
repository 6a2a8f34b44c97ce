"""Log-probs of the policy tokens of trajectories under a transformers model, in micro-batches without attention masks.

Trajectories are sorted by length and packed, padded on the right, into micro-batches of a token budget. Padding sits
after the last real token, so causal attention never sees it: no mask is needed, and no padding is inferred from ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from harness.policy.logprobs import token_logprobs
from harness.types import NO_UNIT, Trajectory


@dataclass(frozen=True, eq=False)
class MicroBatch:
    """`indices`: which trajectories; `tokens` int64 [b, width], right-padded with 0; `policy` bool [b, width]."""

    indices: tuple[int, ...]
    tokens: Tensor
    policy: Tensor


def micro_batches(trajectories: Sequence[Trajectory], token_budget: int) -> list[MicroBatch]:
    """Length-bucketed micro-batches of at most `token_budget` padded tokens (a longer trajectory goes alone)."""
    order = sorted(range(len(trajectories)), key=lambda i: trajectories[i].n_tokens, reverse=True)
    batches: list[MicroBatch] = []
    while order:
        width = trajectories[order[0]].n_tokens
        chosen, order = order[: max(1, token_budget // width)], order[max(1, token_budget // width) :]
        tokens = np.zeros((len(chosen), width), dtype=np.int64)
        policy = np.zeros((len(chosen), width), dtype=bool)
        for row, i in enumerate(chosen):
            n = trajectories[i].n_tokens
            tokens[row, :n] = trajectories[i].token_ids
            policy[row, :n] = trajectories[i].unit_of_token != NO_UNIT
        batches.append(MicroBatch(tuple(chosen), torch.from_numpy(tokens), torch.from_numpy(policy)))
    return batches


def backbone_and_head(model: nn.Module) -> tuple[nn.Module, Tensor]:
    """The decoder stack (adapters included) and the output layer's weight [V, H] of a transformers or PEFT model."""
    base = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    return base.model, base.lm_head.weight  # type: ignore[return-value, union-attr]


def policy_logprobs(model: nn.Module, batch: MicroBatch, temperature: float, autocast: bool) -> tuple[Tensor, Tensor]:
    """Log-prob and entropy of each policy token of the micro-batch, both [T'], row after row.

    `temperature` is the sampler's: the distribution trained is the one that was sampled. `autocast`: bfloat16 matrix
    products; log-probs stay in float32.
    """
    decoder, head = backbone_and_head(model)
    device = head.device
    tokens, policy = batch.tokens.to(device), batch.policy.to(device)
    # no cache of cast weights: a pass uses each once, so it would only hold a bfloat16 copy of them all until its end
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast, cache_enabled=False):
        hidden = decoder(input_ids=tokens, use_cache=False).last_hidden_state
        # the state before a policy token predicts it; a prompt always comes first, so column 0 is never one
        return token_logprobs(hidden[:, :-1][policy[:, 1:]], head, tokens[:, 1:][policy[:, 1:]], temperature)
