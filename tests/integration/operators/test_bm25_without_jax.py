"""bm25s is imported without JAX."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_jax_is_not_run_where_it_is_installed_and_stays_importable(tmp_path: Path) -> None:
    """bm25s runs it on being imported, and it takes most of a GPU."""
    library = tmp_path / "jax"
    library.mkdir()
    (library / "__init__.py").write_text("")
    (library / "lax.py").write_text("def top_k(scores, k):\n    raise SystemExit('JAX was run')\n")
    program = (
        "import asyncio; from tests.unit.operators.test_bm25 import PASSAGES, BM25Retriever\n"
        "print(asyncio.run(BM25Retriever(PASSAGES).retrieve(['capital of Chad'], 1))[0].hits[0].passage.id)\n"
        "import jax.lax; print(jax.lax.top_k.__name__)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "top_k"], done.stderr
