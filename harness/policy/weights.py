"""The weights an inference engine needs: those of the plain model, adapters folded in."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.distributed.tensors import whole, whole_dict


@torch.no_grad()
def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """State dict under the base model's own names; for a PEFT model each LoRA delta is added to a copy of its weight.

    Not `merge_adapter`/`unmerge_adapter`: adding and subtracting the delta in place every step lets rounding drift
    into the frozen weights. Weights that are sharded over workers come whole, on every worker; all must ask.
    """
    if not hasattr(model, "peft_config"):
        return whole_dict({k: v.detach() for k, v in model.state_dict().items()})
    from peft.tuners.lora import LoraLayer

    base: nn.Module = model.get_base_model()  # type: ignore[operator]
    plain = {k: v.detach() for k, v in base.state_dict().items() if ".lora_" not in k}
    weights = {k.replace(".base_layer.", "."): v for k, v in whole_dict(plain).items()}
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            delta = sum(module.get_delta_weight(adapter) for adapter in module.active_adapters)
            weight = weights[f"{name}.weight"]
            weights[f"{name}.weight"] = weight + whole(delta).to(weight.dtype)
    return weights
