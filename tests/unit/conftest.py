"""Unit tests import neither Ray, MLflow nor transformers' models, whatever they call."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from typing import Any

import pytest

NOT_IN_UNIT_TESTS = {"ray", "mlflow", "transformers.modeling_utils"}


@pytest.fixture(autouse=True)
def no_heavy_imports() -> Iterator[None]:
    """Refuse their import, also where another tier's tests have imported them before."""
    before, ordinary = NOT_IN_UNIT_TESTS & sys.modules.keys(), builtins.__import__

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        refused = NOT_IN_UNIT_TESTS & {name, name.partition(".")[0]}
        assert not refused, f"a unit test imports {name}: it belongs elsewhere"
        return ordinary(name, *rest, **named)

    builtins.__import__ = watched
    yield
    builtins.__import__ = ordinary
    assert NOT_IN_UNIT_TESTS & sys.modules.keys() == before
