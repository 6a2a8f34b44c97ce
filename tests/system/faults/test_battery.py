"""A few of the battery's faults (`make test-faults` has all of them)."""

from __future__ import annotations

import os

import pytest

from harness.config import code_version
from tests.system.faults.damage import check_damaged
from tests.system.faults.disk import a_disk, check_full_disk, check_full_store, limited, mounted
from tests.system.faults.kills import KINDS, kill_and_go_on
from tests.system.faults.sweeps import Sweep, check_end


@pytest.mark.skipif(not os.environ.get("FAULTS"), reason="minutes on a busy machine: set FAULTS=1")
@pytest.mark.timeout(3000)
def test_kills_of_every_kind_leave_no_trace(tmp_path):
    whole = Sweep(tmp_path / "whole", ["seeds=2"])
    whole.finish()
    check_end(whole, whole)
    counts = kill_and_go_on(tmp_path, whole, list(KINDS), seed=3, a_sweep=3)  # in two small studies
    assert {kind: counts[kind] for kind in KINDS} == dict.fromkeys(KINDS, 1)
    assert counts["lines"] > 0


def test_damaged_checkpoints_are_rejected_and_logged(tmp_path):
    counts = check_damaged(tmp_path, 3, 1, code_version())
    assert counts.total() == 4


@pytest.mark.parametrize("disk", [mounted, limited])
def test_a_full_disk_stops_a_trial_cleanly_and_it_resumes_with_space(tmp_path, disk):
    if disk is not a_disk() and disk is mounted:
        pytest.skip("mounting is not allowed")
    assert check_full_disk(tmp_path, disk) > 0
    assert check_full_store(tmp_path, disk) == 1
