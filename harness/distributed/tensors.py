"""Full values of sharded tensors."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor's full value, on every worker (all must ask); any other tensor as it is."""
    if type(tensor) is Tensor:
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_dict(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`whole` of every value. Names that share a tensor (a tied output layer) still do."""
    from torch.distributed.tensor import DTensor

    found: dict[int, Tensor] = {}
    full = {}
    for name, tensor in tensors.items():
        full[name] = tensor
        if isinstance(tensor, DTensor):
            local = tensor.to_local()
            key = local.data_ptr() or id(local)  # an empty part has no address, and nothing to share
            if key not in found:
                found[key] = tensor.full_tensor()
            full[name] = found[key]
    return full
