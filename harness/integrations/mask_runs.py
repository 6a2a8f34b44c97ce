"""Think-Action units read off a padded mask: what TRL and verl know of a multi-turn completion."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.objectives.segmentation import Segmentation


def segment_mask_runs(mask: Tensor) -> Segmentation:
    """Each run of consecutive policy tokens in a row is a unit; observations and padding separate runs.

    Two turns without a token of the environment between them are one run, hence one unit: keep at least the
    environment's turn markers out of the mask, as chat templates do.

    Args:
        mask: [B, L], 1 or True at policy tokens. Rows may be empty.

    Returns:
        The segmentation of the tokens `values[mask.bool()]`, on the mask's device.
    """
    policy = mask.bool()
    starts = policy.clone()
    starts[:, 1:] &= ~policy[:, :-1]
    segment_of_token = (starts.flatten().cumsum(0) - 1)[policy.flatten()]
    rows = torch.arange(len(mask), device=mask.device).unsqueeze(1).expand_as(policy)
    return Segmentation(segment_of_token, rows[starts], len(mask))
