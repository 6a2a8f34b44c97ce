"""Async JSON-over-HTTP client: pool, concurrency limit, deadline, size limit, retries with backoff.

Never raises for server errors: a `Reply` carries the value or the failure. A request takes at most `deadline_s` from
the moment it leaves the queue, retries, backoff and endless bodies included. Secrets are in no repr, log line or error.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import httpx
import tenacity

from harness.operators.operator_settings import HttpSettings
from harness.tasks.boundary import scalar_value
from harness.types import OperatorFailure

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 << 20
"""Longest answer that is read."""


@dataclass(frozen=True, slots=True)
class Reply(Generic[T]):
    """A validated value, or the failure. `attempt_failures` has one entry for each failed attempt."""

    value: T | None
    failure: OperatorFailure | None = None
    latency_s: float = 0.0
    retries: int = 0
    attempt_failures: tuple[OperatorFailure, ...] = ()


class _Failed(Exception):
    """Failure of one attempt. `wait_s`: the wait that the server requests by Retry-After."""

    def __init__(
        self, failure: OperatorFailure, detail: str, retryable: bool = True, wait_s: float | None = None
    ) -> None:
        super().__init__(detail)
        self.failure, self.retryable, self.wait_s = failure, retryable, wait_s


class BackgroundLoop:
    """An event loop in a thread of its own, so that one connection pool outlives the loops of its callers (each batch
    of episodes runs in a new one). The thread starts on first use and is a daemon."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="operator-http", daemon=True).start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def stop(self) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._loop = None


@dataclass
class JsonClient:
    """POST JSON, parse the JSON response. `headers` may hold secrets: they are sent and never shown."""

    settings: HttpSettings = field(default_factory=HttpSettings)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._background = BackgroundLoop()
        self._client: httpx.AsyncClient | None = None
        self._slots: asyncio.Semaphore | None = None

    async def post(self, url: str, payload: Mapping[str, Any], check: Callable[[Any], T]) -> Reply[T]:
        """`check` of the parsed response. Any exception it raises means another schema: BAD_RESPONSE."""
        return await self._background.run(self._post(url, payload, check))

    async def aclose(self) -> None:
        if self._client is not None:
            await self._background.run(self._client.aclose())
            self._client = self._slots = None
        self._background.stop()

    async def _post(self, url: str, payload: Mapping[str, Any], check: Callable[[Any], T]) -> Reply[T]:
        if self._client is None or self._slots is None:
            # identity: a compressed body could grow without bound before its size is seen
            headers = {"accept-encoding": "identity", **self.headers}
            self._client = httpx.AsyncClient(
                headers=headers,
                limits=httpx.Limits(max_connections=self.settings.concurrency),
                timeout=self.settings.attempt_s,
                mounts={f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")},  # never by a proxy
            )
            self._slots = asyncio.Semaphore(self.settings.concurrency)
        async with self._slots:
            start = time.perf_counter()
            reply = await self._with_retries(self._client, url, payload, check)
            return replace(reply, latency_s=time.perf_counter() - start)

    async def _with_retries(
        self, client: httpx.AsyncClient, url: str, payload: Mapping[str, Any], check: Callable[[Any], T]
    ) -> Reply[T]:
        s = self.settings
        failures: list[OperatorFailure] = []
        deadline = time.perf_counter() + s.deadline_s
        half, most = s.backoff_s / 2, s.backoff_max_s / 2
        backoff = tenacity.wait_exponential(half, most) + tenacity.wait_random_exponential(half, most)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait_s if isinstance(error, _Failed) else None
            return backoff(state) if asked is None else asked

        def stop(state: tenacity.RetryCallState) -> bool:
            # A wait beyond the deadline would end in a timeout anyway.
            return state.attempt_number >= s.max_attempts or time.perf_counter() + state.upcoming_sleep >= deadline

        def worth_retrying(error: BaseException) -> bool:
            return isinstance(error, _Failed) and error.retryable

        retrying = tenacity.AsyncRetrying(
            wait=wait, stop=stop, retry=tenacity.retry_if_exception(worth_retrying), reraise=True
        )
        try:
            async with asyncio.timeout(s.deadline_s):
                async for attempt in retrying:
                    with attempt:
                        try:
                            value = await self._attempt(client, url, payload, check)
                        except _Failed as error:
                            failures.append(error.failure)
                            raise
                return Reply(value, retries=len(failures), attempt_failures=tuple(failures))
        except _Failed as error:
            log.warning("request failed after %d attempts: %s", len(failures), error)
            failure = error.failure
        except TimeoutError:
            failure = OperatorFailure.TIMEOUT
            failures.append(failure)
        return Reply(None, failure, retries=max(len(failures) - 1, 0), attempt_failures=tuple(failures))

    async def _attempt(
        self, client: httpx.AsyncClient, url: str, payload: Mapping[str, Any], check: Callable[[Any], T]
    ) -> T:
        try:
            async with asyncio.timeout(self.settings.attempt_s), client.stream("POST", url, json=payload) as response:
                _check_status(response)
                body = await self._read(response)
        except httpx.TimeoutException as error:
            raise _Failed(OperatorFailure.TIMEOUT, "timeout") from error
        except TimeoutError as error:
            raise _Failed(OperatorFailure.TIMEOUT, "timeout") from error
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.DecodingError) as error:
            raise _Failed(OperatorFailure.BAD_RESPONSE, f"broken response ({type(error).__name__})") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _Failed(OperatorFailure.SERVER_ERROR, f"no connection ({type(error).__name__})") from error
        try:
            return check(scalar_value(json.loads(body)))
        except Exception as error:  # JSON of an unknown schema: parsing it may raise anything
            raise _Failed(OperatorFailure.BAD_RESPONSE, f"unexpected schema ({type(error).__name__})") from error

    async def _read(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise _Failed(OperatorFailure.BAD_RESPONSE, "compressed response")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise _Failed(OperatorFailure.BAD_RESPONSE, "response too long", retryable=False)
        return bytes(body)


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == 200:
        return
    detail, wait_s = f"HTTP status {status}", retry_after(response.headers.get("retry-after"))
    if status == 429:
        raise _Failed(OperatorFailure.RATE_LIMITED, detail, wait_s=wait_s)
    if status == 408 or status >= 500:
        raise _Failed(OperatorFailure.SERVER_ERROR, detail, wait_s=wait_s)
    # Not retried: a refusal (no such model, no permission) is permanent.
    raise _Failed(OperatorFailure.SERVER_ERROR, detail, retryable=False)


def retry_after(value: str | None) -> float | None:
    """Seconds a Retry-After header asks for, in either of its forms; None if absent or unreadable."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
        return max((when - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None
