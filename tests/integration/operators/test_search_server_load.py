"""The search server under load: long searches, oversized requests, and clients that send or read slowly."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest

from harness.operators.base import Hit
from harness.operators.retrieval import search_app as module
from harness.operators.retrieval.search_app import server_of
from harness.types import Passage


@dataclass
class Index:
    """Hits of `chars` characters; a search waits for `gate`, which is open at first."""

    chars: int = 10
    gate: threading.Event = field(default_factory=threading.Event)
    queries: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    def __len__(self) -> int:
        return 7

    def search(self, query: str, top_k: int) -> tuple[Hit, ...]:
        self.queries.append(query)
        assert self.gate.wait(60)
        return tuple(Hit(Passage(str(i), "t", "x" * self.chars), 1.0) for i in range(top_k))


@contextlib.contextmanager
def serving(index: Index, request_s: float = 30.0, read_s: float = 30.0) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    server = server_of(index, "127.0.0.1", port, request_s, read_s)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield port
    finally:
        index.gate.set()
        server.should_exit = server.force_exit = True
        thread.join(30)


def post(port: int, body: object, timeout: float = 60.0) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{port}/retrieve", json=body, timeout=timeout, trust_env=False)


def healthy(port: int) -> bool:
    found = httpx.get(f"http://127.0.0.1:{port}/health", timeout=30, trust_env=False)
    return bool(found.json() == {"status": "ok", "passages": 7})


def test_health_is_answered_while_every_thread_searches() -> None:
    index = Index()
    with serving(index) as port, ThreadPoolExecutor(8) as clients:
        index.gate.clear()
        pending = [clients.submit(post, port, {"query": f"q{i}"}) for i in range(6)]
        while len(index.queries) < module.SEARCH_THREADS:
            time.sleep(0.01)
        assert healthy(port)  # the searches end only after the gate is opened
        assert not any(p.done() for p in pending)
        index.gate.set()
        assert [p.result().status_code for p in pending] == [200] * 6
    assert sorted(index.queries) == [f"q{i}" for i in range(6)]


def test_a_queue_that_is_full_is_a_503_and_empties_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)
    index = Index()
    with serving(index) as port, ThreadPoolExecutor(8) as clients:
        index.gate.clear()
        pending = [clients.submit(post, port, {"query": "q"}) for _ in range(module.SEARCH_THREADS + 1)]
        last = None
        while last is None or last.status_code != 503:
            with contextlib.suppress(httpx.TimeoutException):  # it waits too, until the queue is full
                last = post(port, {"query": "late"}, 2)
        assert (last.status_code, last.headers["retry-after"]) == (503, "1")
        index.gate.set()
        statuses = [p.result().status_code for p in pending]  # one may have come after the late ones
        assert statuses.count(200) >= module.SEARCH_THREADS
        assert set(statuses) <= {200, 503}
        assert post(port, {"query": "after"}).status_code == 200


def test_queries_times_topk_and_the_answer_are_bounded() -> None:
    index = Index(chars=100_000)
    with serving(index) as port:
        refused = post(port, {"queries": ["q"] * 256, "topk": 1000})
        assert (refused.status_code, index.queries) == (400, [])
        assert "queries times topk" in refused.json()["error"]
        assert post(port, {"queries": ["q"] * 10, "topk": 1000}).status_code == 413
        assert len(index.queries) == 1  # it stopped as soon as the answer was too long
        assert post(port, {"queries": ["q"], "topk": 3}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"query": "\\ud83d x"}',
        b'{"query": "a", "topk": 1' + b"0" * 5000 + b"}",
        b'{"query": "a", "topk": true}',
        b"\xff",
    ],
)
def test_what_json_allows_and_text_does_not_is_no_server_error(body: bytes) -> None:
    index = Index()
    with serving(index) as port:
        found = httpx.post(f"http://127.0.0.1:{port}/retrieve", content=body, timeout=60, trust_env=False)
    if body.startswith(b'{"query": "\\ud83d'):
        assert (found.status_code, index.queries) == (200, ["\N{REPLACEMENT CHARACTER} x"])
    else:
        assert (found.status_code, index.queries) == (400, [])


HEAD = b"POST /retrieve HTTP/1.1\r\nhost: h\r\ncontent-length: 15\r\n"


@pytest.mark.parametrize("sent", [b"", b"POST /retri", HEAD, HEAD + b"\r\n{"])
def test_half_a_request_is_disconnected_in_time(sent: bytes) -> None:
    with serving(Index(), request_s=0.5) as port:
        slow = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(20)]
        for connection in slow:
            connection.sendall(sent)
        assert healthy(port)
        for connection in slow:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1000) == b""  # closed, where nothing would be a timeout of this test
            connection.close()


def test_a_second_request_on_a_connection_has_its_own_time() -> None:
    with (
        serving(Index(), request_s=2.0) as port,
        socket.create_connection(("127.0.0.1", port), timeout=30) as connection,
    ):
        whole = HEAD + b"\r\n" + b'{"query": "qq"}'
        for _ in range(2):
            connection.sendall(whole)
            received = b""
            while not received.endswith(b"}]]}"):
                received += connection.recv(100_000)
            assert received.startswith(b"HTTP/1.1 200")
        connection.sendall(HEAD)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""


def test_a_search_that_takes_longer_than_a_request_may_is_answered() -> None:
    index = Index()
    with serving(index, request_s=0.3) as port, ThreadPoolExecutor(1) as client:
        index.gate.clear()
        pending = client.submit(post, port, {"query": "q"})
        time.sleep(1.0)
        index.gate.set()
        assert pending.result().status_code == 200


def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    with serving(Index(chars=50_000), read_s=0.5) as port, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", port))
        body = json.dumps({"query": "q", "topk": 600}).encode()
        connection.sendall(b"POST /retrieve HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        time.sleep(2.0)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 16):
                received += len(chunk)
        assert received < 600 * 50_000
        assert healthy(port)
