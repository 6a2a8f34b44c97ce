"""A policy whose weights, gradients and optimizer states lie in equal parts on the workers (FSDP2, `fully_shard`).

A GPU never holds the whole policy. It is loaded into main memory; sharding moves one layer at a time to the GPU, whole,
and keeps a part of it. Whole weights leave the GPU again one tensor at a time.

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

from harness.distributed.collective import Collective
from harness.distributed.tensors import each_whole, is_sharded
from harness.policy.forward import MicroBatch, backbone_and_head, policy_logprobs
from harness.policy.load import Policy


class Sharded(nn.Module):
    """`policy_logprobs` of a sharded policy. `policy.model` keeps its class; its parameters become DTensors.

    Shard before an optimizer is made of the parameters. Needs an initialised default process group.
    """

    def __init__(self, model: nn.Module) -> None:
        from torch.distributed.fsdp import FSDPModule, fully_shard  # takes seconds, which most trials need not spend

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
    hollow = None if lora or not with_reference else _hollow(model)
    sharded = Sharded(model)
    frozen = None if hollow is None else _filled(Sharded(hollow), model)

    def reference(batch: MicroBatch) -> Tensor:
        with torch.no_grad(), model.disable_adapter() if frozen is None else nullcontext():
            return (frozen or sharded)(batch, temperature, autocast)[0]

    return sharded, reference if with_reference else None


def _hollow(model: nn.Module) -> nn.Module:
    """A frozen copy whose parameters have shapes and no values yet."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, memo=dict(empty))


def _filled(frozen: Sharded, source: nn.Module) -> Sharded:
    """`frozen` with copies of the parts that this worker holds of `source`, sharded alike."""
    parts = {id(p): p.detach().clone() for p in source.parameters()}  # a tied output layer's once
    named = source.named_parameters(remove_duplicate=False)
    frozen.model.load_state_dict({name: parts[id(p)] for name, p in named}, strict=False, assign=True)
    return frozen


def unsharded(policy: Policy, workers: Collective) -> Policy | None:
    """A copy of a sharded policy with full weights on CPU, on the first worker; any other policy as it is.

    All workers must ask; the others get None.
    """
    model: Any = policy.model
    if not any(is_sharded(parameter) for parameter in model.parameters()):
        return policy
    first = workers.rank == 0
    weights: dict[str, Tensor] = {}
    for name, full in each_whole(model.state_dict()):
        if first:
            weights[name] = full.cpu()
    if not first:
        return None
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
