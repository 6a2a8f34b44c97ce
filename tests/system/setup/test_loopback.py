"""Nothing that this project starts listens to another machine unless it is told to."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.operators.retrieval import server

ROOT = Path(__file__).parents[3]


def test_make_ui_serves_mlflow_on_loopback():
    recipe = (ROOT / "Makefile").read_text().partition("\nui:")[2].partition("\n\n")[0]
    assert "mlflow server" in recipe
    assert re.findall(r"--host[ =](\S+)", recipe) == ["127.0.0.1"]


def test_our_search_server_listens_on_loopback(tmp_path, monkeypatch):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "1", "contents": '"Accra"\nThe capital of Ghana.'}) + "\n")
    started = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self: started.append(self.config.host))
    assert server.main(["--corpus", str(corpus), "--index", str(tmp_path / "index")]) == 0
    assert started == ["127.0.0.1"]
