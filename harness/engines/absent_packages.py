"""Import of a library as if a package that it can use were not installed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def absent(name: str) -> Iterator[None]:
    """In the block, importing the package fails as if it were not installed."""
    modules: dict[str, object] = sys.modules  # type: ignore[assignment]
    known = {name: modules[name]} if name in modules else {}
    modules[name] = None
    try:
        yield
    finally:
        del modules[name]
        modules.update(known)
