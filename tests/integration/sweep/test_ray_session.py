"""The Ray session that a sweep starts for itself on one machine."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.sweep import tune

ROOT = Path(__file__).parents[3]
PROBE = """
import json, psutil, time
from harness.config.sweep_file import Resources
from harness.sweep.tune import start_ray
assert start_ray(Resources())
me = psutil.Process()
left = [[p.status(), " ".join(p.cmdline()) if p.status() != "zombie" else ""] for p in me.children()]
listening = [c.laddr.ip for p in [me, *me.children(recursive=True)] for c in p.net_connections("inet")
             if c.status == "LISTEN"]
import ray
assert ray.get(ray.remote(lambda: 7).remote()) == 7
time.sleep(3)  # a helper that could still speak would have by now
ray.shutdown()
print(json.dumps({"left": left, "listening": listening}))
"""


@pytest.fixture(scope="module")
def probe() -> subprocess.CompletedProcess[str]:
    """A process that starts a session of its own, runs a task in it, and prints what it started."""
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


@pytest.mark.timeout(300)
def test_a_session_of_its_own_keeps_no_process_that_follows_logs_or_scales_clusters(probe):
    left = json.loads(probe.stdout.splitlines()[-1])["left"]
    assert any("raylet" in line for _, line in left)
    assert not [line for status, line in left if status == "zombie" or "monitor.py" in line]
    assert "failed" not in probe.stdout + probe.stderr


def test_ray_listens_on_loopback(probe):
    found = json.loads(probe.stdout.splitlines()[-1])["listening"]
    assert len(found) >= 3
    for address in found:
        ip = ipaddress.ip_address(address)
        assert (getattr(ip, "ipv4_mapped", None) or ip).is_loopback, address


def test_tune_looks_less_often_only_while_nothing_happens(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(tune.time, "sleep", slept.append)
    quiet = tune._quiet_callback()
    quiet.on_step_end()
    assert slept == []
    quiet.changed -= tune.IDLE_S + 1
    quiet.on_step_end()
    assert slept == [tune.IDLE_DELAY_S]
    quiet.on_trial_complete()
    quiet.on_step_end()
    assert slept == [tune.IDLE_DELAY_S]
