"""Unit tests import neither Ray nor MLflow, whatever they call."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

NOT_IN_UNIT_TESTS = {"ray", "mlflow"}


@pytest.fixture(autouse=True)
def neither_ray_nor_mlflow() -> Iterator[None]:
    before = NOT_IN_UNIT_TESTS & sys.modules.keys()
    yield
    imported = NOT_IN_UNIT_TESTS & sys.modules.keys()
    assert imported == before, f"a unit test imports {sorted(imported - before)}; it belongs to tests/integration"
