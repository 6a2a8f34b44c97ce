"""MLflow's database is complete or absent, and no request to a server is repeated."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.tracking.client import connect

KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
left = [int(sys.argv[2])]

def before(*_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", before)
from harness.tracking.client import connect
connect(f"sqlite:///{sys.argv[1]}")
"""


def test_a_kill_while_the_database_is_made_leaves_none(tmp_path):
    path = tmp_path / "mlflow.db"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), "150"], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert [e.name for e in connect(f"sqlite:///{path}").search_experiments()] == ["Default"]


def test_a_slow_server_is_asked_once_for_a_run(monkeypatch):
    asked, told = Counter(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked[self.path] += 1
            told.wait(60)

        def log_message(self, *arguments: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    try:
        with pytest.raises(Exception, match="timeout"):
            connect(f"http://127.0.0.1:{server.server_port}").create_run("0")
    finally:
        told.set()
        server.shutdown()
    assert asked == {"/api/2.0/mlflow/runs/create": 1}
