"""Order and grouping of the tests over processes, and the fixtures that several tiers share.

A fixture imports what it needs when it is used: collecting a test costs little.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.examples import THOROUGH

if TYPE_CHECKING:
    from tests.support.sweep_runner import Finished, Runner
    from tests.support.trained_trial import Trained

# Examples have no deadline: test machines are shared, and work that must be bounded is bounded in steps.
settings.register_profile("thorough", max_examples=THOROUGH, deadline=None)  # --hypothesis-profile, in `make nightly`
settings.register_profile("light", max_examples=THOROUGH // 5, deadline=None)
settings.load_profile("light")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the test processes share the cores

SHARED = ("ray_session", "trained")
"""Expensive session fixtures: the files that use one run in one process, so that it is made once."""
LONGEST_FIRST = (
    *SHARED,
    "tests/system/",
    "tests/integration/sweep/",
    "tests/integration/",
    "tests/parity/",
    "tests/unit/",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group tests by shared fixture or file for `--dist loadgroup`, and give the longest groups out first."""
    group_of: dict[str, str] = {}
    for item in items:
        shared = next((name for name in SHARED if name in getattr(item, "fixturenames", ())), None)
        if shared or _file(item) not in group_of:
            group_of[_file(item)] = shared or _file(item)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group_of[_file(item)]))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _rank(group_of[_file(item)]))


def _file(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _rank(group: str) -> int:
    return next(i for i, start in enumerate((*LONGEST_FIRST, "")) if group.startswith(start))


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    from tests.support.sweep_runner import Runner

    return Runner(tmp_path)


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    import ray

    from harness.config.sweep_file import Resources
    from harness.sweep.tune import start_ray

    start_ray(Resources())
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def failing_sweep(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two seeds of three arms, of which GSPO fails every time. Read only."""
    from tests.support.sweep_runner import Finished, Runner, untracked

    runner, before = Runner(tmp_path_factory.mktemp("failing")), untracked()
    status = runner("gspo_fails")
    return Finished(runner, status, runner.printed, untracked() - before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    from tests.support.trained_trial import train

    return train(tmp_path_factory.mktemp("trained"))
