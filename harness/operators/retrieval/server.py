"""BM25 behind the Search-R1 protocol.

    python -m harness.operators.retrieval.server --corpus FILE (or `--corpus world`)

A corpus file is what `python -m harness.data prepare --corpus` makes (corpus.jsonl.gz), plain JSON Lines, or Parquet; a
row is `{"id", "title", "text"}`, or Search-R1's `{"id", "contents"}`. Library: Starlette on uvicorn.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from harness.operators.retrieval.bm25 import BM25Retriever
from harness.operators.retrieval.corpus_index import file_retriever
from harness.operators.retrieval.http_retrievers import contents
from harness.paths import cache_folder, command
from harness.redact import error_text

MAX_QUERIES = 1024
MAX_TOP_K = 1000
MAX_BODY_BYTES = 8 << 20


def application(index: BM25Retriever) -> Starlette:
    """`POST /retrieve` in both request forms, and `GET /health`."""

    async def retrieve(request: Request) -> JSONResponse:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                return JSONResponse({"error": "request too long"}, 413)
        try:
            asked = json.loads(body)
            single = "query" in asked
            queries = [asked["query"]] if single else asked["queries"]
            top_k = asked.get("topk") or 3
            if (
                not isinstance(queries, list)
                or not all(isinstance(q, str) for q in queries)
                or len(queries) > MAX_QUERIES
            ):
                raise ValueError(f"queries must be at most {MAX_QUERIES} strings")
            if not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
                raise ValueError(f"topk must be from 1 to {MAX_TOP_K}")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return JSONResponse({"error": f"bad request: {error}"}, 400)
        scored = bool(asked.get("return_scores"))
        result = []
        for query in queries:
            rows = []
            for hit in index.search(query, top_k):
                document = {"id": hit.passage.id, "contents": contents(hit.passage)}
                rows.append({"document": document, "score": hit.score} if scored else document)
            result.append(rows)
        return JSONResponse({"result": result})

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "passages": len(index)})

    return Starlette(routes=[Route("/retrieve", retrieve, methods=["POST"]), Route("/health", health)])


def main(arguments: list[str] | None = None) -> int:
    """Exit code 2 for a corpus that cannot be read."""
    parser = argparse.ArgumentParser(
        prog=command("serve-search", "harness.operators.retrieval.server"), description=__doc__.split("\n")[0]
    )
    parser.add_argument("--corpus", required=True, help="a corpus file, or `world` for the offline world")
    parser.add_argument(
        "--index", type=Path, default=cache_folder() / "bm25", help="folder of a file's index (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    try:
        if options.corpus == "world":
            from harness.tasks.world import load_world

            index = BM25Retriever(load_world().passages)
        else:
            index, _ = file_retriever(Path(options.corpus), options.index)
    except (OSError, ValueError) as error:
        print(f"cannot serve {options.corpus}: {error_text(error)}", file=sys.stderr)
        return 2
    import uvicorn

    uvicorn.run(application(index), host=options.host, port=options.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
