"""A policy whose weights, gradients and optimizer states lie in equal parts on the workers (FSDP2, `fully_shard`).

The root of the sharding is a module whose forward is `policy_logprobs` itself: FSDP gathers a module's weights around
its forward, and the output layer is used by the loss, not by the model's own forward. Decoder layers are gathered one
at a time; embedding, last norm and output layer belong to the root.

Gradients are summed over the workers, not averaged: each worker's loss is already its part of the whole minibatch's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard

from harness.distributed.tensors import whole_dict
from harness.policy.forward import MicroBatch, backbone_and_head, policy_logprobs
from harness.policy.load import Policy


class Sharded(nn.Module):
    """`policy_logprobs` of a sharded policy. `policy.model` keeps its class; its parameters become DTensors.

    Shard before an optimizer is made of the parameters. Needs an initialised default process group.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        decoder, _ = backbone_and_head(model)
        layers: Any = decoder.layers
        for layer in layers:
            fully_shard(layer)
        fully_shard(self)
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.set_force_sum_reduction_for_comms(True)  # gloo knows sums only
                module.set_gradient_divide_factor(1.0)

    def forward(self, batch: MicroBatch, temperature: float, autocast: bool) -> tuple[Tensor, Tensor]:
        return policy_logprobs(self.model, batch, temperature, autocast)


def logprobs(model: nn.Module, batch: MicroBatch, temperature: float, autocast: bool) -> tuple[Tensor, Tensor]:
    """`policy_logprobs` of a model that may be `Sharded`."""
    if isinstance(model, Sharded):
        return model(batch, temperature, autocast)
    return policy_logprobs(model, batch, temperature, autocast)


def shard(
    policy: Policy, temperature: float, autocast: bool, *, with_reference: bool
) -> tuple[Sharded, Callable[[MicroBatch], Tensor] | None]:
    """Shard a policy in place; its `model` can still be read (`whole`), but be run only through the first result.

    The second result is what `reference_of` is for a policy that is not sharded.
    """
    model: Any = policy.model
    lora = hasattr(model, "peft_config")
    frozen = None if lora or not with_reference else Sharded(copy.deepcopy(model).requires_grad_(False))
    sharded = Sharded(model)

    def reference(batch: MicroBatch) -> Tensor:
        with torch.no_grad(), model.disable_adapter() if frozen is None else nullcontext():
            return (frozen or sharded)(batch, temperature, autocast)[0]

    return sharded, reference if with_reference else None


def unsharded(policy: Policy) -> Policy:
    """A copy of a sharded policy with full weights on CPU, on every worker (all must ask); any other as it is."""
    model: Any = policy.model
    if not any(isinstance(module, FSDPModule) for module in model.modules()):
        return policy
    weights = {name: tensor.cpu() for name, tensor in whole_dict(model.state_dict()).items()}
    lora = hasattr(model, "peft_config")
    base: Any = model.get_base_model() if lora else model
    with torch.device("meta"):
        copied: Any = type(base)(base.config)
        if lora:
            from peft import get_peft_model

            copied = get_peft_model(copied, model.peft_config["default"])
    copied.load_state_dict(weights, assign=True)
    if base.config.tie_word_embeddings:
        (copied.get_base_model() if lora else copied).tie_weights()
    return Policy(copied, policy.chat)
