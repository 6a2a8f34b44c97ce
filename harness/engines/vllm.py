"""vLLM behind the engine protocol: for models and batches where the built-in engine is too small.

The engine is built empty (no weights are read from disk) and filled by `load_weights`, so the first synchronisation
works exactly as every later one, and an engine whose weights did not arrive cannot pass for a working one.

LoRA is folded into the weights that are sent, not sent as an adapter: vLLM samples from merged weights 2.6 times as
fast (CPU, 135 M parameters), and one copy of the weights within a device costs less than that for any rollout batch.

Only this module imports vLLM, and only when an engine is made: it is not part of the ordinary environment.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.engines.base import Generation, GenerationRequest, SamplingParams
from harness.engines.engine_settings import VllmSettings
from harness.engines.stop_strings import StopStrings
from harness.engines.weights import plain_weights

INSTALL = (
    "vLLM is not installed here: in a checkout `make setup-vllm` makes .venv-vllm with it (run .venv-vllm/bin/python"
    " -m …), elsewhere `pip install vllm` adds it"
)

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process: weights are handed over, not sent
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # a trial keeps to its own threads, set by `threads`
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""Read by vLLM when it is first imported; what the user has set stands."""

CPU_CACHE_BYTES = 2**30
CPU_BATCHED_TOKENS = 4096

ROPE_AND_LIKE = ("rotary_emb.inv_freq",)
"""Endings of state-dict names that are computed, not trained: vLLM makes its own."""


class EngineError(Exception):
    """An engine that cannot be built, or that failed; the message gives the remedy."""


class VllmEngine:
    """See the module's first lines. Raises EngineError when vLLM is missing or its weights cannot be set.

    Beside the protocol: `sleep` frees the accelerator between rollouts, `close` gives everything back. The workers of a
    trial build their engines together, each its own; after that an engine waits for no other but in `load_weights`.
    """

    def __init__(self, model: nn.Module, settings: VllmSettings) -> None:
        vllm = _import_vllm()
        _give_back()  # and an engine that is only kept alive by a cycle still owns this process's device groups
        if settings.max_model_len is None:
            raise EngineError("engine.max_model_len is not set")
        self._settings, self._longest = settings, settings.max_model_len
        self._asleep = False
        self._make_params: Any = vllm.SamplingParams
        # in a process group that is there, a trainer's of several workers, vLLM makes groups of one of its own
        joined = torch.distributed.is_initialized()
        with _process_state_kept():
            self._llm: Any = _build(vllm, model, settings, self._longest)
        self._can_sleep = bool(self._llm.llm_engine.vllm_config.model_config.enable_sleep_mode)
        self._finalizer = weakref.finalize(self, _shut_down, self._llm, joined)
        self.load_weights(model)

    def generate(self, requests: Sequence[GenerationRequest], params: SamplingParams) -> list[Generation]:
        """Raises ValueError when a sequence has no room left. Log-probs are those of softmax(logits / temperature);
        greedy ones are of temperature 1, as everywhere."""
        if not requests:
            return []
        if self._asleep:
            raise EngineError("the engine sleeps until `load_weights`")
        room = [min(r.max_tokens, params.max_tokens, self._longest - len(r.context)) for r in requests]
        if min(room) < 1:
            raise ValueError(f"a sequence has no room left in the engine's {self._longest} tokens")
        sampling = [
            self._make_params(
                temperature=params.temperature,
                seed=r.seed,
                max_tokens=n,
                stop_token_ids=[params.stop_token],
                ignore_eos=True,  # the model's own end of text is a token like any other, as in the built-in engine
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
            )
            for r, n in zip(requests, room, strict=True)
        ]
        prompts = [{"prompt_token_ids": list(r.context)} for r in requests]
        with torch.random.fork_rng(devices=[]):  # vLLM draws from the process's generator even for seeded requests
            if params.stop:
                return self._until_strings(prompts, sampling, params)
            outputs = self._llm.generate(prompts, sampling, use_tqdm=False)
        return [_generation(o.outputs[0], params.stop_token) for o in outputs]

    def _until_strings(
        self, prompts: Sequence[Any], sampling: Sequence[Any], params: SamplingParams
    ) -> list[Generation]:
        """Step by step: vLLM would look for stop strings with a tokenizer of its own, which this engine has not."""
        assert params.text is not None
        strings, engine = StopStrings(params.stop, params.text), self._llm.llm_engine
        for i, (prompt, how) in enumerate(zip(prompts, sampling, strict=True)):
            engine.add_request(str(i), prompt, how)
        seen, ended = [0] * len(prompts), {}
        while engine.has_unfinished_requests():
            for output in engine.step():
                i, sampled = int(output.request_id), output.outputs[0]
                if i in ended:  # a token that was on its way when the request was ended
                    continue
                end = strings.end(sampled.token_ids, seen[i])
                seen[i] = len(sampled.token_ids)
                if end is not None or output.finished:
                    ended[i] = _generation(sampled, params.stop_token, end)
                    if not output.finished:
                        engine.abort_request([output.request_id])
        return [ended[i] for i in range(len(prompts))]

    def release(self, sequence_ids: Sequence[int]) -> None:
        """Nothing to do: vLLM evicts what was not used for longest when its cache is full."""

    def load_weights(self, model: nn.Module) -> None:
        """Wakes the engine if it sleeps. Raises EngineError when a weight of the engine is not among the model's."""
        if self._asleep:
            _give_back()
            self._llm.wake_up(["weights"])
        weights = ((name, w) for name, w in plain_weights(model) if not name.endswith(ROPE_AND_LIKE))
        if self._settings.tensor_parallel_size == 1:
            missing = self._llm.apply_model(partial(_take_weights, weights=weights))
        else:
            missing = self._through_a_file(weights)
        if any(missing):
            raise EngineError(f"vLLM got no value for {', '.join(sorted(set().union(*missing))[:5])}")
        if self._asleep:
            _give_back()  # of the whole weights that were on their way
            self._llm.wake_up(["kv_cache"])
            self._asleep = False
        if not self._llm.reset_prefix_cache():
            raise EngineError("vLLM kept keys and values of the old weights: its prefix cache could not be reset")

    def sleep(self) -> None:
        """Free weights and cache on the accelerator until the next `load_weights`. Nothing happens on CPU."""
        if self._can_sleep and not self._asleep:
            self._llm.sleep(level=2)  # 2: the weights are dropped, new ones come
            self._asleep = True

    def close(self) -> None:
        """End the engine; it cannot be used again."""
        self._finalizer()
        del self._llm

    def _through_a_file(self, weights: Iterable[tuple[str, Tensor]]) -> list[set[str]]:
        """To worker processes by a file in shared memory: sent by message, every worker would unpickle them all."""
        from safetensors.torch import save_file

        shared = Path("/dev/shm")
        with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
            path = Path(folder) / "weights.safetensors"
            # tied weights are one tensor under two names, which the format refuses: each name gets its own
            save_file({name: w.detach().cpu().clone().contiguous() for name, w in weights}, path)
            return list(self._llm.apply_model(partial(_take_file, path=str(path))))


def _give_back() -> None:
    """Free what torch no longer uses: it keeps freed GPU memory for itself, and vLLM's pool cannot take that."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _import_vllm() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import vllm
    except ModuleNotFoundError as error:
        raise EngineError(INSTALL if error.name == "vllm" else f"vLLM cannot be imported: {error}") from error
    return vllm


def _build(vllm: Any, model: nn.Module, settings: VllmSettings, longest: int) -> Any:
    from vllm.platforms import current_platform

    on_cpu = current_platform.is_cpu()
    if on_cpu:
        if settings.tensor_parallel_size > 1:
            raise EngineError("engine.tensor_parallel_size > 1 needs GPUs")
        _keep_weights_on_cpu()
        hide_llvmlite_from_the_scan()
    # Of a prompt read in pieces, vLLM sets the seeded generator back, which torch's CPU generator cannot do (an error)
    whole_prompts = {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(CPU_BATCHED_TOKENS, longest),
    }
    cache = int(settings.kv_cache_gib * 2**30) if settings.kv_cache_gib else None
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
        return vllm.LLM(
            model=folder,
            load_format="dummy",
            skip_tokenizer_init=True,  # tokens in, tokens out
            dtype=settings.dtype or "auto",
            max_model_len=longest,
            tensor_parallel_size=settings.tensor_parallel_size,
            distributed_executor_backend="uni" if settings.tensor_parallel_size == 1 else "mp",
            gpu_memory_utilization=settings.gpu_memory_utilization,
            kv_cache_memory_bytes=cache or (CPU_CACHE_BYTES if on_cpu else None),
            enable_prefix_caching=True,
            enable_sleep_mode=not on_cpu and current_platform.is_sleep_mode_available(),
            enforce_eager=on_cpu,  # compiling takes longer than small rollouts; on GPU it pays
            logprobs_mode="processed_logprobs",  # of the distribution sampled from, temperature included
            generation_config="vllm",  # never a sampling default from the model's folder
            **(whole_prompts if on_cpu else {}),
        )


def _keep_weights_on_cpu() -> None:
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


def _take_weights(model: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
    """Runs where the engine's model is. Names of its parameters that got no value."""
    loaded = model.load_weights(weights)  # type: ignore[operator]
    if any(hasattr(layer, "cpu_linear") for layer in model.modules()):
        from vllm.model_executor.layers.utils import pack_and_drop

        for layer in model.modules():
            if hasattr(layer, "cpu_linear"):
                pack_and_drop(layer, remove_weight=False)
    return {name for name, _ in model.named_parameters()} - set(loaded)


def _take_file(model: nn.Module, path: str) -> set[str]:
    from safetensors import safe_open

    def stream() -> Iterator[tuple[str, Tensor]]:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                yield name, file.get_tensor(name)

    return _take_weights(model, stream())


def _generation(completion: Any, stop_token: int, end: int | None = None) -> Generation:
    """`end`: how many tokens there are up to a stop string; a step may have sampled one more."""
    tokens = tuple(completion.token_ids)
    flat = completion.logprobs
    # where a position has several entries, the first is the sampled token's
    logprobs = tuple(min(flat.logprobs[start], 0.0) for start in flat.start_indices)
    assert len(logprobs) == len(tokens)
    return Generation(tokens[:end], logprobs[:end], end is not None or tokens[-1] == stop_token)


@contextmanager
def _process_state_kept() -> Iterator[None]:
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


def _shut_down(llm: Any, joined: bool) -> None:
    from vllm.distributed import cleanup_dist_env_and_memory

    with _default_group_kept() if joined else nullcontext():
        llm.llm_engine.engine_core.shutdown()
        cleanup_dist_env_and_memory()


@contextmanager
def _default_group_kept() -> Iterator[None]:
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
