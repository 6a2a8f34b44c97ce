"""Reductions: the weight of each segment in the loss, computed from the whole mini-batch.

The loss is sum_k w_k f_k. As weights come from the whole mini-batch, micro-batches add up, and neither the loss nor
its gradient depends on how the mini-batch is split, packed or accumulated.

With the token ratio unit, seq-mean-seg-mean (N1) equals seq-mean-token-mean (N3, GRPO), and seg-mean (N2) equals
token-mean (N4, DAPO).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # configuration reads the names of `REDUCTIONS`, and imports no torch
    from torch import Tensor

    from harness.objectives.segmentation import Segmentation

Reduction = Callable[["Segmentation"], "Tensor"]


def seq_mean_seg_mean(s: Segmentation) -> Tensor:
    """1 / (B K_i): every trajectory weighs the same, and in it every segment (GSsPO, GSPO). float64 [S]."""
    return 1.0 / (s.n_trajectories * s.segments_per_trajectory[s.trajectory_of_segment].double())


def seg_mean(s: Segmentation) -> Tensor:
    """1 / sum K: every segment weighs the same. float64 [S]."""
    return s.trajectory_of_segment.double().fill_(1) / max(s.n_segments, 1)


def seq_mean_of_token_means(s: Segmentation) -> Tensor:
    """n_ik / (B n_i): every trajectory weighs the same, and in it every token. float64 [S]."""
    tokens = s.tokens_per_trajectory[s.trajectory_of_segment].double()
    return s.tokens_per_segment / (s.n_trajectories * tokens)


def token_mean(s: Segmentation) -> Tensor:
    """n_ik / sum n: every token weighs the same. float64 [S]."""
    return s.tokens_per_segment.double() / max(s.n_tokens, 1)


def seq_mean_of_token_sums(s: Segmentation) -> Tensor:
    """n_ik / B: every trajectory weighs as many as its tokens (Dr. GRPO up to 1 / L_max, RLOO). float64 [S]."""
    return s.tokens_per_segment.double() / max(s.n_trajectories, 1)


REDUCTIONS: dict[str, Reduction] = {
    "seq-mean-seg-mean": seq_mean_seg_mean,
    "seg-mean": seg_mean,
    "seq-mean-token-mean": seq_mean_of_token_means,
    "token-mean": token_mean,
    "seq-mean-token-sum": seq_mean_of_token_sums,
    "N1": seq_mean_seg_mean,
    "N2": seg_mean,
    "N3": seq_mean_of_token_means,
    "N4": token_mean,
}
"""Reductions by name, in verl's vocabulary; N1 to N4 are aliases. A configuration keeps the name that was written, and
presets keep the aliases, so the keys and plans of earlier studies do not change."""


def reduction_without_alias(name: str) -> str:
    """The first name of the same reduction in `REDUCTIONS`: verl's."""
    return next(first for first, reduction in REDUCTIONS.items() if reduction is REDUCTIONS[name])


def seq_mean_token_mean(s: Segmentation) -> Tensor:
    """1 / (B n_i) of every token, whatever the segments: the weights of the KL term. float64 [T]."""
    return 1.0 / (s.n_trajectories * s.tokens_per_trajectory[s.trajectory_of_token].double())
