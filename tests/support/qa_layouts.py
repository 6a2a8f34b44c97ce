"""Small files of every known layout, and a hub on loopback that can break connections."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.tasks.benchmarks import BENCHMARKS

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def own_row(n: int = 0, **changes: Any) -> dict[str, Any]:
    row = {
        "id": f"nq_dev_{n}",
        "benchmark": "nq",
        "question": f"who wrote book number {n}",
        "golden_answers": [f"Author {n}", f"A. {n}"],
        "hops": 1,
        "supporting_titles": [f"Book {n}"],
        "source": "somewhere:nq.jsonl",
    }
    return {**row, **changes}


def flashrag_row(n: int = 0, **changes: Any) -> dict[str, Any]:
    words = f"which of the towns {n} and {n + 1} has river number {n}"
    return {"id": f"test_{n}", "question": words, "golden_answers": [f"town {n}"], "metadata": {}} | changes


def search_r1_row(n: int = 0, **changes: Any) -> dict[str, Any]:
    prompt = f"Answer the given question. Use <search> ... </search>. Question: how high is mountain number {n}?\n"
    row = {
        "data_source": "nq",
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": [f"{n} metres"]}},
        "extra_info": {"split": "train", "index": n},
    }
    return {**row, **changes}


def passage_row(n: int = 0, **changes: Any) -> dict[str, Any]:
    return {"id": str(n), "contents": f'"Book {n}"\nBook {n} was written by Author {n}.\nIt is long.'} | changes


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as .jsonl, .jsonl.gz or .parquet by the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(jsonl(rows)) if path.suffix == ".gz" else jsonl(rows))
    return path


def hub_files(folder: Path) -> dict[str, bytes]:
    """`repository/file` -> content of hub data sets with all seven benchmarks, a training mix and a corpus."""
    files = {
        f"RUC-NLPIR/FlashRAG_datasets/{b.hub_file}": jsonl([flashrag_row(10 * i + k) for k in range(5)])
        for i, b in enumerate(BENCHMARKS.values())
    }
    leaked = search_r1_row(
        99, prompt=[{"role": "user", "content": "Question: Which of the towns 0 and 1 has river number 0?"}]
    )
    training = [*(search_r1_row(n) for n in range(8)), leaked, search_r1_row(3, data_source="hotpotqa")]
    files["PeterJinGo/nq_hotpotqa_train/train.parquet"] = write(folder / "train.parquet", training).read_bytes()
    files["PeterJinGo/wiki-18-corpus/wiki-18.jsonl.gz"] = gzip.compress(jsonl([passage_row(n) for n in range(2000)]))
    return files


@dataclass
class Hub:
    """A hub on loopback. `cut`: after so many bytes the next GET of a file breaks off, once per entry."""

    files: dict[str, bytes]
    endpoint: str = ""
    cut: list[int] = field(default_factory=list)
    status: int | None = None  # answer everything with this
    lie_about_sha256: bool = False
    log: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, file, Range

    def gets(self, name: str) -> list[str | None]:
        return [span for method, file, span in self.log if method == "GET" and file.endswith(name)]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self, body: bool) -> None:
            path = self.path.removeprefix("/datasets/")
            repository, _, rest = path.partition("/resolve/")
            name = f"{repository}/{rest.partition('/')[2]}"
            span = self.headers.get("Range")
            hub.log.append((self.command, name, span))
            content = hub.files.get(name)
            if hub.status is not None or content is None:
                self.send_response(hub.status or 404)
                if content is None and hub.status is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            digest = hashlib.sha256(b"other" if hub.lie_about_sha256 else content).hexdigest()
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{digest}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if span:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if not body:
                return
            if hub.cut:
                self.wfile.write(content[start : start + hub.cut.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.close()
                return
            self.wfile.write(content[start:])

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
