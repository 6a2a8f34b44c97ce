"""The operator LLM behind any OpenAI-compatible endpoint (`POST {base_url}/chat/completions`)."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.operators.base import LLMRequest, LLMResponse
from harness.operators.http import JsonClient
from harness.operators.llm.cache import ResponseCache, request_key
from harness.operators.operator_settings import EndpointBackend
from harness.tasks.boundary import MAX_TOKENS, is_count


class OpenAIBackend:
    """LLMBackend over an endpoint. Equal requests, in flight or cached, are sent once.

    The key is read once, at construction, and sent; it is in no repr, log or error, and redacted in completions.
    Raises ValueError for a key that cannot be sent.
    """

    def __init__(self, settings: EndpointBackend) -> None:
        self.settings = settings
        key = os.environ.get(settings.key_variable, "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key in {settings.key_variable} holds characters that no header may hold")
        self.__key = key
        self._client = JsonClient(settings.http, {"authorization": f"Bearer {key}"} if key else {})
        self._cache = ResponseCache(Path(settings.cache)) if settings.cache is not None else None
        self._in_flight: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def __repr__(self) -> str:
        return f"OpenAIBackend(base_url={self.settings.base_url!r}, model={self.settings.model!r})"

    async def complete(self, request: LLMRequest) -> LLMResponse:
        payload = self.payload(request)
        if self._cache is None:
            return await self._ask(payload)
        key = request_key(payload)
        # The second of two equal requests waits for the first and then hits the cache.
        lock = self._in_flight.get(key)
        if lock is None:
            lock = self._in_flight[key] = asyncio.Lock()
        async with lock:
            kept = self._cache.get(key)
            if kept is not None:
                return LLMResponse(**kept, cached=True)
            response = await self._ask(payload)
            if response.failure is None:
                kept = {name: getattr(response, name) for name in ("text", "prompt_tokens", "completion_tokens")}
                self._cache.put(key, kept)
            return response

    async def aclose(self) -> None:
        await self._client.aclose()
        if self._cache is not None:
            self._cache.close()

    def payload(self, request: LLMRequest) -> dict[str, Any]:
        """The request's body; its hash is the cache key."""
        seed = {} if request.seed is None else {"seed": request.seed}
        return {
            "model": self.settings.model,
            "messages": [dict(message) for message in request.messages],
            "temperature": request.temperature,
            "max_tokens": request.max_tokens,
            **seed,
        }

    async def _ask(self, payload: Mapping[str, Any]) -> LLMResponse:
        url = self.settings.base_url.rstrip("/") + "/chat/completions"
        reply = await self._client.post(url, payload, read_completion)
        text, prompt, completion = reply.value or ("", None, None)
        if reply.value is not None and prompt is None:
            prompt = -(-sum(len(m["content"]) for m in payload["messages"]) // 4)
        if reply.value is not None and completion is None:
            completion = -(-len(text) // 4)
        cost = ((prompt or 0) * self.settings.prompt_price + (completion or 0) * self.settings.completion_price) / 1e6
        return LLMResponse(
            text=text.replace(self.__key, "[key]") if self.__key else text,
            failure=reply.failure,
            prompt_tokens=prompt or 0,
            completion_tokens=completion or 0,
            latency_s=reply.latency_s,
            cost_usd=cost,
            retries=reply.retries,
            attempt_failures=reply.attempt_failures,
        )


def read_completion(data: Any) -> tuple[str, int | None, int | None]:
    """(text, prompt tokens, completion tokens) of a chat completion; counts that are missing or larger than any
    completion's are None (the caller estimates four characters a token). Raises for another shape."""
    text = data["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise ValueError("no text in the completion")
    usage = data.get("usage")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in ("prompt_tokens", "completion_tokens")]
    prompt, completion = (n if is_count(n, MAX_TOKENS) else None for n in counts)
    return text, prompt, completion
