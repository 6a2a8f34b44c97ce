"""Sweeps of these tests write to a database that has its tables already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.sweep_runner import Runner


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated MLflow database without runs, to copy: a migration takes seconds."""
    from harness.tracking.client import connect

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{path}")
    return path


@pytest.fixture
def runner(tmp_path: Path, empty_store: Path) -> Runner:
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return Runner(tmp_path)
