"""vLLM in a process and on GPUs of its own (`engine.placement: dedicated`): a Ray actor behind the engine protocol.

Nothing has to sleep: the trainer's GPU never holds the engine. Weights travel through Ray's object store in pieces, so
that neither side needs room for a second whole copy there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.engines.engine_settings import VllmSettings
from harness.engines.vllm import VllmEngine
from harness.engines.weights import plain_weights

PIECE_BYTES = 64 * 2**20


class RemoteEngine:
    """A `VllmEngine` elsewhere. `gpus`: how many it takes; 0 runs it on CPU.

    Within a trial of a sweep its GPUs are those that `resources.engine_gpus` has reserved. Raises what vLLM's engine
    raises.
    """

    def __init__(self, model: nn.Module, settings: VllmSettings, *, gpus: int) -> None:
        import ray

        if not ray.is_initialized():
            ray.init(address="local", include_dashboard=False, log_to_driver=False)
        self._ray = ray
        base: Any = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
        self._server = ray.remote(num_cpus=0, num_gpus=gpus)(_Server).remote(base.config, settings)
        self.load_weights(model)

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        return self._ray.get(self._server.generate.remote(list(requests), params))

    def release(self, sequence_ids: Sequence[int]) -> None:
        """As of vLLM: nothing to do."""

    def load_weights(self, model: nn.Module) -> None:
        piece: dict[str, Tensor] = {}
        size = 0
        for name, weight in plain_weights(model):
            piece[name] = weight.cpu()
            size += weight.nbytes
            if size >= PIECE_BYTES:
                self._ray.get(self._server.receive.remote(piece))
                piece, size = {}, 0
        self._ray.get(self._server.receive.remote(piece))
        self._ray.get(self._server.take_over.remote())

    def sleep(self) -> None:
        """Nothing to free: no other process uses its GPUs."""

    def close(self) -> None:
        """End the engine and its process."""
        self._ray.kill(self._server)


class _Server:
    """Lives in the actor; the engine comes up with the first weights."""

    def __init__(self, config: Any, settings: VllmSettings) -> None:
        self._config, self._settings = config, settings
        self._engine: VllmEngine | None = None
        self._received: dict[str, Tensor] = {}

    def receive(self, piece: dict[str, Tensor]) -> None:
        self._received |= {name: weight.clone() for name, weight in piece.items()}  # Ray's copy is freed on return

    def take_over(self) -> None:
        from harness.engines.model_classes import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(self._config)
        model.load_state_dict(self._received, assign=True)
        self._received = {}
        if self._engine is None:
            self._engine = VllmEngine(model, self._settings)
        else:
            self._engine.load_weights(model)

    def generate(self, requests: list[GenerationRequest], params: SamplingParams) -> list[Generation]:
        assert self._engine is not None
        return self._engine.generate(requests, params)
