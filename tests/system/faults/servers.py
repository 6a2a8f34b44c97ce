"""A real MLflow server that is killed amid a sweep, and one behind a proxy that makes it slow or full."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from harness.sweep.run import FINISHED
from harness.tracking import replay
from tests.system.faults.cheap_steps import DONE
from tests.system.faults.sweeps import Sweep, check_runs

DELAY_S = 2.0
LIMIT_S = 0.05
"""What no tracker may cost a step."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """`mlflow server` on loopback with a database and artifacts of its own; it can be killed and brought back."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True)
        self.home, self.port = home, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.home / 'mlflow.db'}"),
            *("--artifacts-destination", str(self.home / "artifacts")),
        ]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=self.home, start_new_session=True
            )
        end = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None, (self.home / "server.log").read_text()[-2000:]
                assert time.monotonic() < end, "the server did not come up"
                time.sleep(0.3)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


class Proxy(ThreadingHTTPServer):
    """Passes requests on to a server; `delay_s` before each answer, or `status` in place of it."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.target, self.delay_s, self.status, self.asked = target, 0.0, 0, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


_OWN = ("host", "connection", "transfer-encoding", "content-length")
"""Headers that each of the two connections has for itself."""


class _Pass(BaseHTTPRequestHandler):
    server: Proxy

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _pass(self) -> None:
        self.server.asked += 1
        body = self._body()
        time.sleep(self.server.delay_s)
        if self.server.status:
            self.send_error(self.server.status)
            return
        link = http.client.HTTPConnection("127.0.0.1", self.server.target, timeout=60)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN}
        link.request(self.command, self.path, body, headers)
        answer = link.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        link.close()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass

    def log_message(self, *args: object) -> None: ...


@contextlib.contextmanager
def served(home: Path) -> Iterator[Server]:
    server = Server(home)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def slowest_call(sweep: Sweep) -> float:
    """Seconds that the journal took most for a step's lines, without those that the thread waited for a processor.

    Raises AssertionError above LIMIT_S.
    """
    rows = [line.split() for path in sweep.trials().values() for line in (path / DONE).read_text().splitlines()]
    slowest = max(float(taken) - float(waited) for _, _, taken, waited in rows)
    assert slowest < LIMIT_S, f"a step waited {slowest:.3f} s for its journal"
    return slowest


def check_outage(home: Path, server: Server) -> tuple[int, float]:
    """The server is killed when a third is recorded, and comes back while trials run.

    Points in MLflow, all of them, and the slowest journal call.
    """
    with _in_memory(home) as place:
        sweep = Sweep(place / "outage", ["seeds=2", "name=outage"], name="outage", uri=server.uri, step_s=0.3)
        process = sweep.start()
        _wait(process, sweep, 30)
        server.kill()
        _wait(process, sweep, 50)
        server.start()
        return _ended(process, sweep), slowest_call(sweep)


def check_proxied(home: Path, server: Server, delay_s: float, status: int) -> float:
    """A server that is slow, or answers an error, while trials run: the slowest journal call. Nothing is lost after."""
    proxy = Proxy(server.port)
    proxy.delay_s, proxy.status = delay_s, status
    name = f"status{status}" if status else "slow"
    with _in_memory(home) as place:
        sweep = Sweep(place / name, ["seeds=2", f"name={name}"], name=name, uri=proxy.uri, step_s=0.2)
        process = sweep.start()
        _wait(process, sweep, 82)
        assert proxy.asked, "the tracker asked nothing while trials ran"
        proxy.delay_s = proxy.status = 0
        _ended(process, sweep)
        slowest = slowest_call(sweep)
    proxy.shutdown()
    return slowest


@contextlib.contextmanager
def _in_memory(home: Path) -> Iterator[Path]:
    """A folder on a disk in memory, where there is one: what the disk takes is not the tracker's."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else home) as place:
        yield Path(place)


def _wait(process: subprocess.Popen[bytes], sweep: Sweep, lines: int) -> None:
    end = time.monotonic() + 600
    while sum(sweep.recorded().values()) < lines:
        assert process.poll() is None, sweep.printed()[-2000:]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def _ended(process: subprocess.Popen[bytes], sweep: Sweep) -> int:
    """The sweep ends well, MLflow at the latest after a replay has all of it. How many points."""
    assert process.wait(900) == FINISHED, sweep.printed()[-2000:]
    if "could not be written" in sweep.printed():
        replay(sweep.root)
    return check_runs(sweep)
