"""Full values of sharded tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor's full value, on every worker (all must ask); any other tensor as it is."""
    if type(tensor) is Tensor:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(full: Tensor | None, like: Tensor) -> Tensor:
    """The first worker's `full` in parts as `like` lies, each worker its own (all must ask); undoes `whole`.

    Other workers may give None. A `like` that is not sharded gets `full` as it is.
    """
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        assert full is not None
        return full
    value = torch.empty(like.shape, device=like.device) if full is None else full
    return distribute_tensor(value.to(like.device, like.dtype), like.device_mesh, like.placements)


def each_whole(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """`whole` of one value after the other. Names that share a tensor (a tied output layer) still do: it is kept here
    until the end, no other is."""
    from torch.distributed.tensor import DTensor

    # an empty part has no address, and nothing to share
    places = {n: t.to_local().data_ptr() or n for n, t in tensors.items() if isinstance(t, DTensor)}
    uses = Counter(places.values())
    kept: dict[int | str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            yield name, tensor
            continue
        place = places[name]
        full = kept[place] if place in kept else tensor.full_tensor()
        if uses[place] > 1:
            kept[place] = full
        yield name, full
