"""Nothing that this project starts listens to another machine unless it is told to."""

from __future__ import annotations

import ipaddress
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.operators.retrieval import server

ROOT = Path(__file__).parents[3]
RAY = """
import json, psutil
from harness.config.sweep_file import Resources
from harness.sweep.tune import start_ray
assert start_ray(Resources())
me, found = psutil.Process(), []
for process in [me, *me.children(recursive=True)]:
    found += [c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"]
print(json.dumps(found))
import ray
ray.shutdown()
"""


def test_make_ui_serves_mlflow_on_loopback():
    recipe = (ROOT / "Makefile").read_text().partition("\nui:")[2].partition("\n\n")[0]
    assert "mlflow server" in recipe
    assert re.findall(r"--host[ =](\S+)", recipe) == ["127.0.0.1"]


def test_our_search_server_listens_on_loopback(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "1", "contents": '"Accra"\nThe capital of Ghana.'}) + "\n")
    started = {}
    monkeypatch.setattr("uvicorn.run", lambda app, **settings: started.update(settings))
    assert server.main(["--corpus", str(corpus)]) == 0
    assert started["host"] == "127.0.0.1"


@pytest.mark.timeout(300)
def test_ray_listens_on_loopback():
    done = subprocess.run([sys.executable, "-c", RAY], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(found) >= 3
    for address in found:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, address
