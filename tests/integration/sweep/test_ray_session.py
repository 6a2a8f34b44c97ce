"""The Ray session that a sweep starts for itself on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.sweep import tune

ROOT = Path(__file__).parents[3]
HELPERS = """
import json, psutil, time
from harness.config.sweep_file import Resources
from harness.sweep.tune import start_ray
assert start_ray(Resources())
left = [[p.status(), " ".join(p.cmdline()) if p.status() != "zombie" else ""] for p in psutil.Process().children()]
import ray
assert ray.get(ray.remote(lambda: 7).remote()) == 7
time.sleep(3)  # a helper that could still speak would have by now
ray.shutdown()
print(json.dumps(left))
"""


@pytest.mark.timeout(300)
def test_a_session_of_its_own_keeps_no_process_that_follows_logs_or_scales_clusters():
    done = subprocess.run([sys.executable, "-c", HELPERS], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    left = json.loads(done.stdout.strip().splitlines()[-1])
    assert any("raylet" in line for _, line in left)
    assert not [line for status, line in left if status == "zombie" or "monitor.py" in line]
    assert "failed" not in done.stdout + done.stderr


def test_tune_looks_less_often_only_while_nothing_happens(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(tune.time, "sleep", slept.append)
    calm = tune._calm()
    calm.on_step_end()
    assert slept == []
    calm.news -= tune.BUSY_S + 1
    calm.on_step_end()
    assert slept == [tune.LOOK_S]
    calm.on_trial_complete()
    calm.on_step_end()
    assert slept == [tune.LOOK_S]
