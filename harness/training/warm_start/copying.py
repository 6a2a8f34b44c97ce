"""The first lesson of a tiny policy: to repeat what stands earlier in its context, whatever it is.

Reading is copying: a name from the question into a query, from a passage into a thought and an answer. On scripted
episodes alone this takes a fresh model most of its training; random text with repetitions teaches it in minutes
(induction heads, Olsson et al. 2022), and for every word alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.training.warm_start.imitation import optimizers_of

ROWS, LENGTH = 8, 128
"""Sequences an update, and tokens of each."""


def repetitive_text(
    words: Sequence[int], common: Sequence[int], longest: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Token ids [ROWS, LENGTH], each row random words followed by spans of them, and which can be predicted [same].

    Every fourth token is one of a few `common` ones, as punctuation is: what follows it depends on what stood before.
    """
    text = np.empty((ROWS, LENGTH), dtype=np.int64)
    repeated = np.zeros((ROWS, LENGTH), dtype=bool)
    for row in range(ROWS):
        end = int(rng.integers(LENGTH // 8, LENGTH // 3))
        text[row, :end] = rng.choice(words, end)
        text[row, 1:end:4] = rng.choice(common, len(range(1, end, 4)))
        while end < LENGTH:
            span = min(int(rng.integers(2, longest)), LENGTH - end, end - 1)
            start = int(rng.integers(0, end - span))
            text[row, end : end + span] = text[row, start : start + span]
            repeated[row, end + 1 : end + span] = True
            end += span
    return torch.from_numpy(text), torch.from_numpy(repeated)


def learn_to_copy(
    model: nn.Module,
    words: Sequence[int],
    common: Sequence[int],
    *,
    updates: int,
    learning_rate: float,
    seed: int,
    report: Callable[[int, int, float], None] | None = None,
) -> float:
    """Train on fresh `repetitive_text` of these token ids; the mean loss (nats a repeated token) of the last."""
    rng = np.random.default_rng(seed)
    optimizers = optimizers_of(model, learning_rate)
    loss = math.nan
    for step in range(updates):
        scale = min(1.0, (step + 1) / (0.1 * updates)) * (1.0 - 0.7 * step / updates)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group.setdefault("peak_lr", group["lr"]) * scale
        text, repeated = repetitive_text(words, common, 40 if step < updates / 2 else 12, rng)
        logits = model(input_ids=text).logits[:, :-1]
        wanted = repeated[:, 1:]
        error = functional.cross_entropy(logits[wanted].float(), text[:, 1:][wanted])
        model.zero_grad(set_to_none=True)
        error.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        loss = float(error.detach())
        if report is not None:
            report(step + 1, updates, loss)
    return loss
