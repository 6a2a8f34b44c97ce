"""Fixtures that several tiers share. What they need is imported when they are used: collecting a test costs little."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.sweep_runner import Finished, Runner
    from tests.support.trained_trial import Trained

# Examples have no deadline: test machines are shared, and work that must be bounded is bounded in steps.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


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
