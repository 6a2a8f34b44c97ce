"""A real HTTP server on loopback that misbehaves as told: one behaviour a request, the last one for ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Behaviour = Callable[[asyncio.StreamWriter, "Seen"], Awaitable[None]]


@dataclass
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: Any
    at: float


@dataclass
class Hostile:
    script: list[Behaviour]
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    open_now: int = 0
    most_open: int = 0
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.seen.append(Seen(head[0].split()[1], headers, json.loads(body), time.perf_counter()))
                behaviour = self.script[min(len(self.seen), len(self.script)) - 1]
                self.open_now += 1
                self.most_open = max(self.most_open, self.open_now)
                try:
                    await behaviour(writer, self.seen[-1])
                finally:
                    self.open_now -= 1
                if behaviour.__dict__.get("hang_up"):
                    break
        writer.close()


@contextlib.contextmanager
def hostile(*script: Behaviour) -> Iterator[Hostile]:
    server = Hostile(list(script))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(server.handle, "127.0.0.1", 0), loop).result()
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:

        async def shut() -> None:
            listening.close()
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(shut(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def completion(text: str, usage: Any = None) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 20} if usage is None else usage
    return {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": usage}


GOOD = "<thought>t</thought><answer>Paris</answer><query>q</query><feedback>fine</feedback>"


def reply(status: int = 200, data: Any = None, headers: Mapping[str, str] | None = None, delay: float = 0) -> Behaviour:
    """A whole HTTP answer; `data` is JSON, or bytes as they are; by default a good completion."""

    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        await asyncio.sleep(delay)
        body = data if isinstance(data, bytes) else json.dumps(completion(GOOD) if data is None else data).encode()
        lines = [
            f"HTTP/1.1 {status} X",
            f"content-length: {len(body)}",
            *(f"{k}: {v}" for k, v in (headers or {}).items()),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return behave


def ends_early(sent: bytes) -> Behaviour:
    """Announces a longer body than it sends, and hangs up."""

    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + sent)
        await writer.drain()

    behave.hang_up = True  # type: ignore[attr-defined]
    return behave


def garbage() -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"\x00\xff not http at all \r\n\r\n")
        await writer.drain()

    behave.hang_up = True  # type: ignore[attr-defined]
    return behave


def hang_up() -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        return None

    behave.hang_up = True  # type: ignore[attr-defined]
    return behave


def silence() -> Behaviour:
    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        await asyncio.sleep(60)

    return behave


def endless(chunk: bytes = b"x" * 65536, every: float = 0.0) -> Behaviour:
    """A body that never ends; with `every`, a slow drip."""

    async def behave(writer: asyncio.StreamWriter, seen: Seen) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            await asyncio.sleep(every)

    return behave
