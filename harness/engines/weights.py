"""The weights an inference engine needs: those of the plain model, adapters folded in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from harness.distributed.tensors import each_whole, whole


def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """State dict under the base model's own names; each LoRA delta of a PEFT model is added to a copy of its weight."""
    return dict(plain_weights(model))


def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The same, one weight after the other: of the copies that LoRA needs, one exists at a time.

    Not `merge_adapter`/`unmerge_adapter`: adding and subtracting the delta in place every step lets rounding drift
    into the frozen weights. Weights that are sharded over workers come whole, on every worker; all must ask.
    Raises ValueError for adapters that are more than LoRA deltas of linear layers.
    """
    if not hasattr(model, "peft_config"):
        yield from each_whole({name: w.detach() for name, w in model.state_dict().items()})
        return
    from peft.tuners.lora import LoraLayer

    base: nn.Module = model.get_base_model()  # type: ignore[operator]
    _check_plain_lora(base)
    adapted = {f"{name}.weight": m for name, m in base.named_modules() if isinstance(m, LoraLayer)}
    plain = {name: w.detach() for name, w in base.state_dict().items() if ".lora_" not in name}
    for key, weight in each_whole(plain):
        name = key.replace(".base_layer.", ".")
        if name in adapted:
            with torch.no_grad():
                delta = sum(adapted[name].get_delta_weight(adapter) for adapter in adapted[name].active_adapters)
                weight = weight + whole(delta).to(weight.dtype)
        yield name, weight


def _check_plain_lora(base: nn.Module) -> None:
    """DoRA and its like scale the weight itself, saved modules and biases stand beside it: no delta holds these."""
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import AuxiliaryTrainingWrapper

    for name, module in base.named_modules():
        plain = type(module) is Linear and not module.lora_variant and not any(module.lora_bias.values())
        if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper) and not plain:
            raise ValueError(f"{name}: the engine takes plain LoRA of linear layers only: merge other adapters first")
