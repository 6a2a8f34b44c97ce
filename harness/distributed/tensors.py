"""Full values of sharded tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor's full value, on every worker (all must ask); any other tensor as it is."""
    if type(tensor) is Tensor:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_dict(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`whole` of every value. Names that share a tensor (a tied output layer) still do."""
    return dict(each_whole(tensors))


def each_whole(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The same, one value after the other: only shared ones are kept until the end."""
    from torch.distributed.tensor import DTensor

    def place(tensor: DTensor) -> int:
        local = tensor.to_local()
        return local.data_ptr() or id(local)  # an empty part has no address, and nothing to share

    uses = Counter(place(t) for t in tensors.values() if isinstance(t, DTensor))
    kept: dict[int, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            yield name, tensor
            continue
        key = place(tensor)
        full = kept[key] if key in kept else tensor.full_tensor()
        if uses[key] > 1:
            kept[key] = full
        yield name, full
