"""The trained trial, once for all tests of this folder."""

from __future__ import annotations

import pytest

from tests.evaluating.trained_trial import Trained, train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("trained"))
