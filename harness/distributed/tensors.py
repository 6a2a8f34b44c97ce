"""Full values of sharded tensors."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor lies in parts on the workers. The module of its class takes seconds to import: where nothing
    has imported it, nothing has made such a tensor."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor's full value, on every worker (all must ask); any other tensor as it is."""
    return _full(tensor) if is_sharded(tensor) else tensor


def spread(full: Tensor | None, like: Tensor) -> Tensor:
    """The first worker's `full` in parts as `like` lies, each worker its own (all must ask); undoes `whole`.

    Other workers may give None. A `like` that is not sharded gets `full` as it is.
    """
    if not is_sharded(like):
        assert full is not None
        return full
    from torch.distributed.tensor import distribute_tensor

    value = torch.empty(like.shape, device=like.device) if full is None else full
    return distribute_tensor(value.to(like.device, like.dtype), like.device_mesh, like.placements)


def each_whole(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """`whole` of one value after the other. Names that share a tensor (a tied output layer) still do: it is kept here
    until the end, no other is."""
    # an empty part has no address, and nothing to share
    places = {n: t.to_local().data_ptr() or n for n, t in tensors.items() if is_sharded(t)}
    uses = Counter(places.values())
    kept: dict[int | str, Tensor] = {}
    for name, tensor in tensors.items():
        if not is_sharded(tensor):
            yield name, tensor
            continue
        place = places[name]
        full = kept[place] if place in kept else _full(tensor)
        if uses[place] > 1:
            kept[place] = full
        yield name, full


def _full(tensor: DTensor) -> Tensor:
    """In memory of its own: parts of unequal size (an odd vocabulary) are gathered with padding, of which the value is
    a view that safetensors refuses to write."""
    full = tensor.full_tensor()
    return full if full.untyped_storage().nbytes() == full.nbytes else full.clone()
