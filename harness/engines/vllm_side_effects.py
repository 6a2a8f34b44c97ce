"""What vLLM does to the process and the model around it, undone: generators, threads, process groups, CPU weights."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn


def keep_weights_on_cpu() -> None:
    """Let CPU layers keep the weight that they pack for their kernels.

    vLLM packs it once and empties the original, after which a new weight has nowhere to go: `load_weights` raises, and
    `reload_weights` reports success and changes nothing. With the original kept, `_take_weights` fills and packs again.
    """
    from vllm.model_executor.layers import utils

    if not hasattr(utils, "pack_and_drop"):
        utils.pack_and_drop = utils.dispatch_cpu_unquantized_gemm
        utils.dispatch_cpu_unquantized_gemm = partial(_pack_and_keep, utils.pack_and_drop)


def _pack_and_keep(pack: Any, layer: nn.Module, remove_weight: bool) -> None:
    pack(layer, remove_weight=False)


def hide_llvmlite_from_the_scan() -> None:
    """vLLM on CPU asks every object in every module for its `__dict__`, and llvmlite's library object (there once
    numba is imported, as bm25s does) takes that for one of its functions: the engine would not come up."""
    ffi = sys.modules.get("llvmlite.binding.ffi")
    if ffi is None or hasattr(ffi._lib_wrapper, "any_name"):
        return

    def getattr_(self: Any, name: str) -> Any:
        if name == "__dict__":
            raise AttributeError(name)
        return self.any_name(name)

    ffi._lib_wrapper.any_name, ffi._lib_wrapper.__getattr__ = ffi._lib_wrapper.__getattr__, getattr_


@contextmanager
def process_state_kept() -> Iterator[None]:
    """vLLM seeds every generator of the process and, on CPU, takes `torch.set_num_threads` away: both come back."""
    set_num_threads, n = torch.set_num_threads, torch.get_num_threads()
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads = set_num_threads
        torch.set_num_threads(n)
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def default_group_kept() -> Iterator[None]:
    """vLLM ends `torch.distributed` with itself, also one that was there before: end only its own groups."""
    import torch.distributed as dist

    destroy = dist.destroy_process_group

    def destroy_part(group: Any = None) -> None:
        if group is not None and group is not dist.group.WORLD:
            destroy(group)

    dist.destroy_process_group = destroy_part
    try:
        yield
    finally:
        dist.destroy_process_group = destroy
