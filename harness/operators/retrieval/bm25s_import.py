"""bm25s, made to leave JAX alone: everything here that searches by BM25 takes it from this module.

Where JAX is installed, bm25s picks the best passages with it and runs it on being imported; JAX then takes three
quarters of a GPU's memory for this process, of which the policy and other trials have need. numpy picks as fast.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _absent(name: str) -> Iterator[None]:
    """In the block, importing the package fails as if it were not installed."""
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    known = {name: modules[name]} if name in modules else {}
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
        modules.update(known)


with _absent("jax"):
    import bm25s  # type: ignore[import-untyped]
    from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

__all__ = ["STOPWORDS_EN", "bm25s"]
