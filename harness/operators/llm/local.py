"""The operator LLM as a transformers model in this process.

Requests are served one after another: the rounding of a batch would depend on which requests happen to share it, and
the result must depend on the request alone. Sampling draws from a generator of its own, never from the global one.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

from harness.operators.base import LLMRequest, LLMResponse
from harness.types import OperatorFailure

log = logging.getLogger(__name__)


class LocalLLM:
    """LLMBackend over a transformers folder or hub name. The model is loaded on first use.

    `dtype` is a torch dtype's name; `threads` sets torch's number for the process while a request runs (None: leaves
    it); `max_tokens` bounds outputs further than the request does, for small models.
    """

    def __init__(
        self, model: str | Path, *, dtype: str = "float32", threads: int | None = None, max_tokens: int = 1024
    ) -> None:
        self._source = str(model)
        self._dtype, self._threads, self._max_tokens = dtype, threads, max_tokens
        self._loaded: tuple[Any, Any] | None = None
        self._lock = threading.Lock()

    async def complete(self, request: LLMRequest) -> LLMResponse:
        return await asyncio.to_thread(self._complete, request)

    def _complete(self, request: LLMRequest) -> LLMResponse:
        with self._lock:
            start = time.perf_counter()
            try:
                text, n_prompt, n_new = self._generate(request)
            except Exception:  # out of memory, an unreadable model: visible to the policy as a failed call
                log.exception("the local operator model failed")
                return LLMResponse("", OperatorFailure.SERVER_ERROR, latency_s=time.perf_counter() - start)
            return LLMResponse(
                text, prompt_tokens=n_prompt, completion_tokens=n_new, latency_s=time.perf_counter() - start
            )

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoTokenizer

            from harness.engines.model_classes import AutoModelForCausalLM

            model = AutoModelForCausalLM.from_pretrained(
                self._source, dtype=getattr(torch, self._dtype), trust_remote_code=False, use_safetensors=True
            )
            self._loaded = model.eval(), AutoTokenizer.from_pretrained(self._source, trust_remote_code=False)
        return self._loaded

    def _generate(self, request: LLMRequest) -> tuple[str, int, int]:
        """(text, prompt tokens, new tokens), greedy at temperature 0."""
        import torch

        model, tokenizer = self._load()
        prompt = _prompt_ids(tokenizer, request)
        end = model.generation_config.eos_token_id
        ends = set(end) if isinstance(end, list) else {end, tokenizer.eos_token_id}
        generator = torch.Generator().manual_seed(request.seed or 0)
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads or before)
        try:
            new: list[int] = []
            ids, past = torch.tensor([prompt]), None
            with torch.inference_mode():
                for _ in range(min(request.max_tokens, self._max_tokens)):
                    out = model(input_ids=ids, past_key_values=past, use_cache=True)
                    past, logits = out.past_key_values, out.logits[0, -1].float()
                    if request.temperature > 0:
                        chances = torch.softmax(logits / request.temperature, dim=-1)
                        token = int(torch.multinomial(chances, 1, generator=generator))
                    else:
                        token = int(logits.argmax())
                    if token in ends:
                        break
                    new.append(token)
                    ids = torch.tensor([[token]])
        finally:
            torch.set_num_threads(before)
        return tokenizer.decode(new, skip_special_tokens=True), len(prompt), len(new)


def _prompt_ids(tokenizer: Any, request: LLMRequest) -> list[int]:
    messages = [dict(message) for message in request.messages]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids
    plain = "\n".join(f"{m['role']}: {m['content']}" for m in messages) + "\nassistant:"
    return list(tokenizer.encode(plain))
