"""A process that runs one trial after another does not keep the memory of those before."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from harness.distributed.collective import ALONE
from harness.runs.run import TrialRun
from harness.sweep.worker import run_one, run_share

FRAGMENTED = """
import gc
import psutil
import torch
from harness.sweep.worker import release_memory

def mb():
    return psutil.Process().memory_info().rss / 1e6

class Model:
    def __init__(self):
        self.own = self  # a cycle, as of a module and its hooks
        self.weights = [torch.ones(16_000) for _ in range(8_000)]

before = mb()
gc.disable()
model = Model()
last = model.weights[-1]  # what lies above all that is freed
used = mb()
del model
kept = mb()
release_memory()
print(used - before, kept - before, mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_a_trials_memory_goes_back_to_the_system():
    run = subprocess.run([sys.executable, "-c", FRAGMENTED], capture_output=True, text=True, check=True)
    used, kept, released = map(float, run.stdout.split())
    assert used > 400
    assert kept > 400
    assert released < 100


class Model:
    def __init__(self) -> None:
        self.own = self  # a cycle, as of a module and its hooks


MODELS: list[weakref.ref[Model]] = []


def makes_a_model(*given: object) -> dict[str, float]:
    MODELS.append(weakref.ref(Model()))
    return {}


@pytest.mark.parametrize("run_here", [run_one, run_share])
def test_every_worker_of_a_trial_lets_go_of_its_model(runner, run_here):
    _, folder = runner.prepared()
    gc.disable()
    try:
        run_here(TrialRun(folder), f"{__name__}:makes_a_model", ALONE)
    finally:
        gc.enable()
    assert MODELS.pop()() is None
