"""Segmentation of padded batches: Think-Action units as runs of the policy mask that TRL and verl keep."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.objectives.segmentation import Segmentation


def segment_mask_runs(mask: Tensor) -> Segmentation:
    """Segmentation whose units are the runs of consecutive policy tokens in each row.

    Two turns with no environment token between them are one run, hence one unit: at least the environment's turn
    markers must be outside the mask, as in chat templates.

    Args:
        mask: [B, L], 1 or True at policy tokens. Rows may be empty.

    Returns:
        The segmentation of the T tokens `values[mask.bool()]`, on the mask's device.
    """
    policy = mask.bool()
    starts = policy.clone()
    starts[:, 1:] &= ~policy[:, :-1]
    segment_of_token = (starts.flatten().cumsum(0) - 1)[policy.flatten()]
    rows = torch.arange(len(mask), device=mask.device).unsqueeze(1).expand_as(policy)
    return Segmentation(segment_of_token, rows[starts], len(mask))
