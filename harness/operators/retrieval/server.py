"""BM25 server with the Search-R1 protocol.

    python -m harness.operators.retrieval.server --corpus FILE (or `--corpus world`)

A corpus file is what `python -m harness.data prepare --corpus` makes (corpus.jsonl.gz), plain JSON Lines, or Parquet; a
row is `{"id", "title", "text"}`, or Search-R1's `{"id", "contents"}`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.paths import cache_folder, command
from harness.types.redact import error_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 2 for a corpus that cannot be read."""
    parser = argparse.ArgumentParser(
        prog=command("serve-search", "harness.operators.retrieval.server"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", required=True, help="a corpus file, or `world` for the offline world")
    parser.add_argument(
        "--index", type=Path, default=cache_folder() / "bm25", help="folder of a file's index (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    options = parser.parse_args(arguments)
    from harness.operators.retrieval.bm25 import BM25Retriever  # heavy: after the arguments were read
    from harness.operators.retrieval.corpus_index import file_retriever
    from harness.operators.retrieval.search_app import SearchIndex, server_of

    index: SearchIndex
    try:
        if options.corpus == "world":
            from harness.tasks.world import load_world

            index = BM25Retriever(load_world().passages)
        else:
            index, _ = file_retriever(Path(options.corpus), options.index)
    except (OSError, ValueError) as error:
        print(f"cannot serve {options.corpus}: {error_text(error)}", file=sys.stderr)
        return 2
    server_of(index, options.host, options.port).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
