"""Two processes (gloo, FSDP2) against one: the same loss, the same gradient, the same episodes, half the weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.distributed.collective import ALONE
from tests.system.distributed.shared_work import UPDATES, trial, update

pytestmark = pytest.mark.timeout(600)  # the first waits for all that the two workers do
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two workers came to."""
    folder = tmp_path_factory.mktemp("two")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.system.distributed.shared_work"]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(folder)], cwd=ROOT, env=environment) for rank in range(2)
    ]
    try:
        assert [p.wait(timeout=500) for p in processes] == [0, 0]
    finally:
        for p in processes:
            p.kill()
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("case", UPDATES)
def test_two_workers_give_the_loss_and_the_gradient_of_one(both: list[dict[str, Any]], case: str) -> None:
    alone = update(ALONE, **UPDATES[case])
    exact = UPDATES[case].get("dtype", torch.float64) == torch.float64
    rel, tight = (1e-9, 1e-10) if exact else (1e-5, 3e-8)  # float32 sums in another order
    largest = max(float(d.abs().max()) for d in alone["moved"].values())
    assert largest > 1e-4 or case == "no signal"
    for worker in (both[0][case], both[1][case]):
        assert worker["metrics"] == pytest.approx(alone["metrics"], rel=rel, abs=rel)
        for name, delta in alone["moved"].items():
            torch.testing.assert_close(worker["moved"][name], delta, atol=tight, rtol=0)
    # what the engines are given, and what the first worker keeps on disk
    for given, expected in ((both[0], "engine"), (both[1], "engine"), (both[0], "exported")):
        assert given[case][expected].keys() == alone[expected].keys()
        for name, weight in alone[expected].items():
            torch.testing.assert_close(given[case][expected][name], weight, atol=tight, rtol=0)


def test_each_worker_holds_half_of_the_weights(both: list[dict[str, Any]]) -> None:
    held = [worker["gsspo"]["held"] for worker in both]
    assert sum(held) == update(ALONE)["held"]
    assert max(held) <= 0.52 * sum(held)


def test_only_the_first_worker_keeps_the_whole_policy_and_a_gpu_never_does(both: list[dict[str, Any]]) -> None:
    second = both[1]["gsspo"]
    assert second["exported"] is None
    assert second["whole at once"] == 3  # the tied output layer, a tensor, and the one that is gathered after it


def test_weights_are_in_parts_when_the_engine_comes_up(both: list[dict[str, Any]]) -> None:
    (whole,) = trial(ALONE)["held"]
    (first,), (second,) = (worker["trial"]["held"] for worker in both)
    assert first + second == whole
    assert max(first, second) <= 0.52 * whole


def test_the_number_of_workers_changes_no_rollout_and_no_metric(both: list[dict[str, Any]]) -> None:
    alone = trial(ALONE)
    for worker in both:
        got = worker["trial"]
        assert got["tokens"] == alone["tokens"]
        for mine, other in zip(got["values"], alone["values"], strict=True):
            assert mine == pytest.approx(other, rel=1e-4, abs=5e-5)  # float32; the sampler's gap is rounding itself
