"""Summary metrics of a trial that has ended, and the CPU and memory it used."""

from __future__ import annotations

import os
import time

import psutil
import pytest

from harness.runs.episode_store import episode_path, write_episodes
from harness.runs.jsonl import decode_numbers, read_lines
from harness.runs.layout import SYSTEM
from harness.runs.records import MetricsLine
from harness.runs.run import TrialRun
from harness.sweep.resource_monitor import measured, usage
from harness.tracking import trial_summary
from harness.types import ParseFailure
from tests.integration.tracking.test_traces import answered, episode, malformed


def test_the_best_evaluation_is_the_first_of_the_highest():
    lines = [
        MetricsLine(0, {"eval/em": 0.1, "eval/em/a": 0.1}, 10),
        MetricsLine(1, {"train/em": 0.9}, 11),
        MetricsLine(2, {"eval/em": 0.4, "eval/em/a": 0.3, "train/em": 0.5}, 12),
        MetricsLine(4, {"eval/em": 0.4, "eval/em/a": 0.5}, 14),
    ]
    assert trial_summary.best_evaluation(lines) == (0, {"best/em": 0.4, "best/em/a": 0.3, "best/step": 2.0}, 12)
    assert trial_summary.best_evaluation(lines[1:2]) is None


def test_signatures_are_the_worst_rate_and_the_number_of_sudden_changes():
    lines = [
        MetricsLine(1, {"train/lazy": 0.2, "update/grad_spike": 0.0}, 1),
        MetricsLine(2, {"train/lazy": 0.7, "update/grad_spike": 1.0}, 2),
        MetricsLine(3, {"train/lazy": 0.1, "update/grad_spike": 1.0, "eval/lazy": 0.9}, 3),
    ]
    assert trial_summary.diagnostics_summary(lines) == {"signature/lazy": 0.7, "signature/grad_spikes": 2.0}


def test_failures_are_shares_of_the_training_episodes_over_all_steps(tmp_path):
    write_episodes(
        tmp_path / "episodes", 1, "train", [episode([malformed(), malformed(), answered()]), episode([answered()])]
    )
    write_episodes(tmp_path / "episodes", 2, "train", [episode([answered()]), episode([answered()])])
    write_episodes(tmp_path / "episodes", 2, "eval", [episode([malformed()])])
    assert trial_summary.failure_rates(TrialRun(tmp_path)) == {
        f"failure/{ParseFailure.UNCLOSED_TAG.value}": pytest.approx(0.25)
    }
    episode_path(tmp_path / "episodes", 1, "train").write_bytes(b"PAR1 broken")
    assert trial_summary.failure_rates(TrialRun(tmp_path)) == {}


def test_a_trial_is_measured_while_it_runs_and_at_its_end(tmp_path):
    with measured(TrialRun(tmp_path), period_s=0.05):
        held = bytearray(os.urandom(1 << 20)) * 200
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            sum(range(10_000))
    records = read_lines(tmp_path / SYSTEM).records
    assert len(records) >= 3
    values = [decode_numbers(r["values"]) for r in records]
    assert max(v["system/process_memory_megabytes"] for v in values) > len(held) / 1e6
    assert max(v["system/process_cpu_percentage"] for v in values) > 0
    assert all(0 <= v["system/system_memory_usage_percentage"] <= 100 for v in values)


def test_measuring_costs_next_to_nothing():
    process = psutil.Process()
    begun = time.process_time()
    for _ in range(20):
        usage(process)
    assert (time.process_time() - begun) / 20 < 0.005  # once in ten seconds: less than a thousandth


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_stops_the_measuring_not_the_trial(tmp_path):
    (tmp_path / SYSTEM).mkdir()
    with measured(TrialRun(tmp_path), period_s=0.01):
        time.sleep(0.05)
