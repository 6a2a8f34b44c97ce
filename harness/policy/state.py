"""What a checkpoint holds of a process: trainable weights, optimizer, random streams."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Trainable weights (adapters alone where there are any), optimizer and every process-wide random stream."""
    numpy: Any = np.random.get_state(legacy=True)
    return {
        "weights": {name: p.detach() for name, p in model.named_parameters() if p.requires_grad},
        "optimizer": optimizer.state_dict(),
        "random": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [str(numpy[0]), [int(n) for n in numpy[1]], int(numpy[2]), int(numpy[3]), float(numpy[4])],
            "python": random.getstate(),
        },
    }


@torch.no_grad()
def restore_training(state: Mapping[str, Any], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Undo `training_state`. Raises ValueError when the weights are not this model's."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if parameters.keys() != state["weights"].keys():
        raise ValueError("the checkpoint holds other weights than the policy trains")
    for name, p in parameters.items():
        p.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    streams = state["random"]
    torch.set_rng_state(streams["torch"])
    if streams["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(streams["cuda"])
    name_, keys, *rest = streams["numpy"]
    np.random.set_state((name_, np.array(keys, np.uint32), *rest))
    random.setstate(streams["python"])
