"""BM25 behind the Search-R1 protocol, as a Starlette application on uvicorn. Its door is `server.py`.

Searches run in threads of their own, so that `/health` and other clients are answered meanwhile; a request, its answer
and the number of those that wait are bounded, and a client that sends or reads too slowly is disconnected.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harness.operators.base import Hit
from harness.operators.retrieval.http_retrievers import contents
from harness.tasks.boundary import is_count, parse_row, scalar_value

if TYPE_CHECKING:
    import uvicorn

MAX_QUERIES = 1024
MAX_TOP_K = 1000
MAX_HITS = 10_000
"""Queries times passages of each, in one request."""
MAX_BODY_BYTES, MAX_ANSWER_BYTES = 8 << 20, 64 << 20
SEARCH_THREADS = 2
MAX_WAITING = 64
"""Requests that wait for a thread; the next ones are answered 503."""
REQUEST_S = 10.0
"""A connection has this long to send a whole request, from its start or from the answer before."""
READ_S = 30.0
"""A client has this long to read on, once the buffers of its answer are full."""


class SearchIndex(Protocol):
    def __len__(self) -> int: ...

    def search(self, query: str, top_k: int) -> tuple[Hit, ...]: ...


class _TooLongError(Exception):
    """An answer of more than MAX_ANSWER_BYTES."""


def read_request(body: bytes) -> tuple[list[str], int, bool]:
    """(queries, topk, with scores) of a request. Raises ValueError, KeyError, TypeError, AttributeError or
    RecursionError."""
    asked = scalar_value(parse_row(body.decode()))
    queries = [asked["query"]] if "query" in asked else asked["queries"]
    top_k = asked.get("topk") or 3
    if not isinstance(queries, list) or not all(isinstance(q, str) for q in queries) or len(queries) > MAX_QUERIES:
        raise ValueError(f"queries must be at most {MAX_QUERIES} strings")
    if not is_count(top_k, MAX_TOP_K):
        raise ValueError(f"topk must be from 1 to {MAX_TOP_K}")
    if len(queries) * top_k > MAX_HITS:
        raise ValueError(f"queries times topk may be at most {MAX_HITS}")
    return queries, top_k, bool(asked.get("return_scores"))


def answer(index: SearchIndex, queries: Sequence[str], top_k: int, scored: bool) -> bytes:
    """The body of an answer, encoded query by query: one call of the encoder would keep other threads from running."""
    parts: list[bytes] = []
    size = 0
    for query in queries:
        rows = []
        for hit in index.search(query, top_k):
            document = {"id": hit.passage.id, "contents": contents(hit.passage)}
            rows.append({"document": document, "score": hit.score} if scored else document)
        parts.append(json.dumps(rows, ensure_ascii=False).encode("utf-8", "replace"))
        size += len(parts[-1])
        if size > MAX_ANSWER_BYTES:
            raise _TooLongError
    return b'{"result":[' + b",".join(parts) + b"]}"


def application(index: SearchIndex) -> Starlette:
    """`POST /retrieve` in both request forms, and `GET /health`."""
    threads = ThreadPoolExecutor(SEARCH_THREADS, "search")
    waiting = 0

    async def retrieve(request: Request) -> Response:
        nonlocal waiting
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return JSONResponse({"error": "request too long"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        if waiting >= SEARCH_THREADS + MAX_WAITING:
            return JSONResponse({"error": "too many requests at a time"}, 503, {"retry-after": "1"})
        waiting += 1
        work = asyncio.get_running_loop().run_in_executor(threads, _worked, index, bytes(body))
        work.add_done_callback(released)
        status, content = await asyncio.shield(work)  # where the client is gone the search counts until it ends
        return Response(content, status, media_type="application/json")

    def released(_: object) -> None:
        nonlocal waiting
        waiting -= 1

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "passages": len(index)})

    return Starlette(routes=[Route("/retrieve", retrieve, methods=["POST"]), Route("/health", health)])


def _worked(index: SearchIndex, body: bytes) -> tuple[int, bytes]:
    """(status, body) of the answer to one request; runs in a thread."""
    try:
        queries, top_k, scored = read_request(body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return 400, json.dumps({"error": f"bad request: {error}"[:500]}).encode()
    try:
        return 200, answer(index, queries, top_k, scored)
    except _TooLongError:
        return 413, b'{"error": "the answer is too long: send fewer queries, or a smaller topk"}'


def server_of(
    index: SearchIndex, host: str, port: int, request_s: float = REQUEST_S, read_s: float = READ_S
) -> uvicorn.Server:
    """The server; `request_s` and `read_s` as REQUEST_S and READ_S."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        """uvicorn's protocol with a time for each request to arrive, and for each answer to be read."""

        _timers: dict[str, asyncio.TimerHandle]

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._timers = {}
            self._expect("request", request_s, self._is_answering)

        def connection_lost(self, exc: Exception | None) -> None:
            for timer in self._timers.values():
                timer.cancel()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._expect("request", request_s, self._is_answering)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect("reading", read_s, lambda: False)

        def resume_writing(self) -> None:
            super().resume_writing()
            if "reading" in self._timers:
                self._timers.pop("reading").cancel()

        def _is_answering(self) -> bool:
            return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

        def _expect(self, what: str, seconds: float, excused: Callable[[], bool]) -> None:
            def end() -> None:
                if not excused():
                    self.transport.abort()

            if what in self._timers:
                self._timers[what].cancel()
            self._timers[what] = self.loop.call_later(seconds, end)

    config = uvicorn.Config(
        application(index), host=host, port=port, log_level="warning", http=ImpatientProtocol, ws="none"
    )
    return uvicorn.Server(config)
