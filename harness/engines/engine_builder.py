"""The engine that samples, built from its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import nn

from harness.engines.base import Engine
from harness.engines.builtin import BuiltinEngine
from harness.engines.engine_settings import BuiltinSettings, EngineSettings


def build_engine(
    model: nn.Module, settings: EngineSettings, capacity: int, dtype: Literal["float32", "bfloat16"]
) -> Engine:
    """The engine, holding the weights of `model`, whose type is `dtype`; room for `capacity` tokens a sequence.

    Raises EngineError where vLLM is wanted and missing.
    """
    if isinstance(settings, BuiltinSettings):
        return BuiltinEngine(model, capacity=capacity, dtype=getattr(torch, dtype))
    from harness.engines.remote import RemoteEngine
    from harness.engines.vllm import VllmEngine

    filled = replace(settings, max_model_len=settings.max_model_len or capacity, dtype=settings.dtype or dtype)
    if filled.placement == "dedicated":
        return RemoteEngine(model, filled, gpus=filled.tensor_parallel_size if torch.cuda.is_available() else 0)
    return VllmEngine(model, filled)
