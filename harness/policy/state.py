"""What a checkpoint holds of a trial: trainable weights, optimizer, random streams.

Of weights that lie in parts on several workers it holds the whole, so it does not depend on how many there were: the
first worker keeps it, and gives every worker its part back.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.distributed.collective import ALONE, Collective
from harness.distributed.tensors import spread, whole


def training_state(model: nn.Module, optimizer: torch.optim.Optimizer, workers: Collective = ALONE) -> dict[str, Any]:
    """Trainable weights (adapters alone where there are any), optimizer and every process-wide random stream.

    All `workers` must ask. The first one's is the state; the others' have no tensors.
    """
    first = workers.rank == 0

    def kept(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        full = whole(value.detach())  # a part on a GPU is whole there for a moment, one tensor at a time
        return (full.cpu() if workers.size > 1 else full) if first else None

    held = optimizer.state_dict()
    return {
        "weights": {name: kept(p) for name, p in model.named_parameters() if p.requires_grad},
        "optimizer": held | {"state": {i: {k: kept(v) for k, v in s.items()} for i, s in held["state"].items()}},
        "random": workers.gather(_random_streams()),
    }


@torch.no_grad()
def restore_training(
    state: Mapping[str, Any] | None, model: nn.Module, optimizer: torch.optim.Optimizer, workers: Collective = ALONE
) -> dict[str, Any] | None:
    """Undo `training_state`. All `workers` must ask; the first one's `state` counts, None if there is none.

    Returns what else the state holds, on every worker, or None. Raises ValueError when the weights are not this
    model's.
    """
    outline = workers.gather(None if state is None else _outline(state))[0]
    if outline is None:
        return None
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if parameters.keys() != set(outline["weights"]):
        raise ValueError("the checkpoint holds other weights than the policy trains")
    full: Mapping[str, Any] = state if state is not None else outline
    for name, p in parameters.items():
        p.copy_(spread(full["weights"][name], p))
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    moments = {
        i: {k: spread(full["optimizer"]["state"][i][k], trained[i]) if v is None else v for k, v in values.items()}
        for i, values in outline["optimizer"]["state"].items()
    }
    optimizer.load_state_dict(outline["optimizer"] | {"state": moments})
    _restore_streams(outline["random"][workers.rank % len(outline["random"])])
    return {k: v for k, v in outline.items() if k not in ("weights", "optimizer", "random")}


def _outline(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state with None for every tensor that has a parameter's shape."""
    moments = {
        i: {k: None if isinstance(v, Tensor) and v.ndim > 0 else v for k, v in values.items()}
        for i, values in state["optimizer"]["state"].items()
    }
    return {
        **state,
        "weights": dict.fromkeys(state["weights"]),
        "optimizer": {**state["optimizer"], "state": moments},
    }


def _random_streams() -> dict[str, Any]:
    numpy: Any = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(numpy[0]), [int(n) for n in numpy[1]], int(numpy[2]), int(numpy[3]), float(numpy[4])],
        "python": random.getstate(),
    }


def _restore_streams(streams: Mapping[str, Any]) -> None:
    torch.set_rng_state(streams["torch"])
    if streams["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(streams["cuda"])
    name, keys, *rest = streams["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))
    random.setstate(streams["python"])
