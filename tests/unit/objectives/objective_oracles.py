"""Random ragged batches, and the objectives written as plain loops over Python floats: the tests' oracles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from harness.objectives.clip_settings import ClipBand
from harness.objectives.ratio_units import UnitLayout

Ragged = list[list[list[float]]]
"""[trajectory][segment][token]."""

ALIASES = {"N1": "seq-mean-seg-mean", "N2": "seg-mean", "N3": "seq-mean-token-mean", "N4": "token-mean"}
"""Names of earlier studies."""


@dataclass(frozen=True)
class Batch:
    """A ragged batch of B trajectories in float64; `logp` requires a gradient."""

    layouts: list[UnitLayout]
    logp: Tensor
    old: Tensor
    advantage: Tensor

    @property
    def n_tokens(self) -> int:
        return len(self.logp)


def make_batch(unit_lengths: Sequence[Sequence[int]], seed: int = 0, spread: float = 0.3) -> Batch:
    """Trajectories with these units; log-ratios of standard deviation `spread`; advantages of both signs."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(map(sum, unit_lengths))
    old = -torch.rand(total, generator=generator, dtype=torch.float64) * 3
    delta = spread * torch.randn(total, generator=generator, dtype=torch.float64)
    advantage = torch.randn(len(unit_lengths), generator=generator, dtype=torch.float64)
    layouts = [
        UnitLayout(
            tuple(lengths),
            tuple(int(torch.randint(0, n + 1, (1,), generator=generator)) for n in lengths),
            seed=seed + i,
        )
        for i, lengths in enumerate(unit_lengths)
    ]
    return Batch(layouts, (old + delta).requires_grad_(), old, advantage)


unit_lengths = st.one_of(
    st.lists(st.integers(1, 9), min_size=1, max_size=1),
    st.lists(st.integers(1, 9), min_size=2, max_size=5),
    st.lists(st.integers(1, 4), min_size=20, max_size=20),
)
ragged_batches = st.builds(
    make_batch,
    st.lists(unit_lengths, min_size=1, max_size=6),
    seed=st.integers(0, 2**20),
    spread=st.sampled_from([0.0, 1e-3, 0.3, 3.0]),
)


def ragged(values: Tensor, segment_lengths: Sequence[Sequence[int]]) -> Ragged:
    """Cut a flat tensor [T] into nested lists."""
    flat, position, out = values.detach().tolist(), 0, []
    for lengths in segment_lengths:
        row = []
        for n in lengths:
            row.append(flat[position : position + n])
            position += n
        out.append(row)
    return out


def loop_weight(reduction: str, rows: Ragged, i: int, k: int) -> float:
    """The definition of the reductions, one segment at a time."""
    batch, units = len(rows), len(rows[i])
    tokens_here, tokens_i = len(rows[i][k]), sum(len(u) for u in rows[i])
    all_units, all_tokens = sum(len(r) for r in rows), sum(len(u) for r in rows for u in r)
    return {
        "seq-mean-seg-mean": 1 / batch / units,
        "seg-mean": 1 / all_units,
        "seq-mean-token-mean": tokens_here / tokens_i / batch,
        "token-mean": tokens_here / all_tokens,
        "seq-mean-token-sum": tokens_here / batch,
    }[ALIASES.get(reduction, reduction)]


def loop_objective(
    batch: Batch, segment_lengths: Sequence[Sequence[int]], reduction: str, band: ClipBand
) -> tuple[float, list[float]]:
    """Loss and its gradient with respect to each token's log-prob, from the formulas alone."""
    deltas = ragged(batch.logp - batch.old, segment_lengths)
    loss, gradient = 0.0, []
    for i, row in enumerate(deltas):
        advantage = float(batch.advantage[i])
        for k, unit in enumerate(row):
            weight = loop_weight(reduction, deltas, i, k)
            ratio = math.exp(math.fsum(unit) / len(unit))
            bounded = min(max(ratio, 1 - band.low), 1 + band.high)
            loss += weight * -min(ratio * advantage, bounded * advantage)
            active = ratio * advantage <= bounded * advantage
            gradient += [-weight * advantage * ratio / len(unit) if active else 0.0] * len(unit)
    return loss, gradient


def loop_surrogate(
    name: str, logp: Sequence[float], old: Sequence[float], advantage: Sequence[float], band: ClipBand
) -> tuple[float, list[float]]:
    """f of one segment and its derivative with respect to each token's log-prob; one advantage a token."""
    n = len(logp)
    ratio = math.exp(math.fsum(a - b for a, b in zip(logp, old, strict=True)) / n)
    within = min(max(ratio, 1 - band.low), 1 + band.high)
    moved = math.exp(math.fsum(logp) / n) - math.exp(math.fsum(old) / n)
    bounded = []
    for new, before, a in zip(logp, old, advantage, strict=True):
        delta = new - before
        if a > 0:
            delta = min(delta, math.log(1 + band.high))
        if a < 0:
            delta = max(delta, math.log(1 - band.low) if band.low < 1 else -math.inf)
        bounded.append(delta)
    geometric = math.exp(math.fsum(bounded) / n)
    value, slopes = 0.0, []
    for new, before, a, kept in zip(logp, old, advantage, bounded, strict=True):
        if name == "min_clip":
            stopped = (ratio > 1 + band.high and a > 0) or (ratio < 1 - band.low and a < 0)
            f, slope = -min(ratio * a, within * a), 0.0 if stopped else -ratio * a
        elif name == "cispo":
            f, slope = -within * a * math.log(ratio), -within * a
        elif name == "none":
            f, slope = -a * math.log(ratio), -a
        elif name == "sapo":
            tau = 1.0 if a > 0 else 1.05
            gate = 1 / (1 + math.exp(-tau * (ratio - 1)))
            f, slope = -4 / tau * gate * a, -4 * gate * (1 - gate) * ratio * a
        elif name == "gmpo":
            f, slope = -geometric * a, -geometric * a if kept == new - before else 0.0
        else:
            masked = (moved > band.high and a > 0) or (moved < -band.low and a < 0)
            f, slope = (0.0, 0.0) if masked else (-ratio * a, -ratio * a)
        value += f / n
        slopes.append(slope / n)
    return value, slopes
