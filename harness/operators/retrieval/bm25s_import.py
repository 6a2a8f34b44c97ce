"""Import of bm25s without JAX, for every module here that searches by BM25.

Where JAX is installed, bm25s ranks with it and initialises it on import; JAX then reserves three quarters of a GPU's
memory, which the policy and other trials need. numpy ranks as fast.
"""

from __future__ import annotations

from harness.engines.absent_packages import absent

with absent("jax"):
    import bm25s  # type: ignore[import-untyped]
    from bm25s.stopwords import STOPWORDS_EN  # type: ignore[import-untyped]

__all__ = ["STOPWORDS_EN", "bm25s"]
