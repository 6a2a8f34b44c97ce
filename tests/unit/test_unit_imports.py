"""The unit tier stays light: neither its collection nor a test of it imports Ray or MLflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.conftest import NOT_IN_UNIT_TESTS

UNIT = Path(__file__).parent
COLLECT = """
import sys
import pytest
status = pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", sys.argv[1]])
print("imported:", *({"ray", "mlflow"} & sys.modules.keys()))
sys.exit(status)
"""


def test_collecting_the_unit_tier_imports_neither_ray_nor_mlflow(request: pytest.FixtureRequest) -> None:
    if all(item.path.is_relative_to(UNIT) for item in request.session.items):
        assert not NOT_IN_UNIT_TESTS & sys.modules.keys()
        return
    command = [sys.executable, "-c", COLLECT, str(UNIT)]  # this process has collected other tiers too
    done = subprocess.run(command, cwd=UNIT.parents[1], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:]
    assert done.stdout.splitlines()[-1] == "imported:"


@pytest.mark.parametrize("name", ["ray.tune", "mlflow"])
def test_a_unit_test_that_imports_them_fails(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        __import__(name)
