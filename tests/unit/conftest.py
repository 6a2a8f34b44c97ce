"""Unit tests import neither Ray nor MLflow, whatever they call."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from typing import Any

import pytest

NOT_IN_UNIT_TESTS = {"ray", "mlflow"}


@pytest.fixture(autouse=True)
def neither_ray_nor_mlflow() -> Iterator[None]:
    """Refuse their import, also where another tier's tests have imported them before."""
    before, ordinary = NOT_IN_UNIT_TESTS & sys.modules.keys(), builtins.__import__

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        assert name.partition(".")[0] not in NOT_IN_UNIT_TESTS, f"a unit test imports {name}: it belongs elsewhere"
        return ordinary(name, *rest, **named)

    builtins.__import__ = watched
    yield
    builtins.__import__ = ordinary
    assert NOT_IN_UNIT_TESTS & sys.modules.keys() == before
