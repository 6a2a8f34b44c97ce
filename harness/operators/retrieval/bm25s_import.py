"""Import of bm25s without JAX, for every module here that searches by BM25.

Where JAX is installed, bm25s ranks with it and initialises it on import; JAX then reserves three quarters of a GPU's
memory, which the policy and other trials need. numpy ranks as fast.
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
