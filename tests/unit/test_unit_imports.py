"""The unit tier stays light: collecting all of it imports neither Ray nor MLflow, nor starts a process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.unit.conftest import NOT_IN_UNIT_TESTS

UNIT = Path(__file__).parent


def test_collecting_the_unit_tier_imports_neither_ray_nor_mlflow(request: pytest.FixtureRequest) -> None:
    if not all(item.path.is_relative_to(UNIT) for item in request.session.items):
        pytest.skip("other tiers were collected too: make test-unit")
    assert not NOT_IN_UNIT_TESTS & sys.modules.keys()
