"""Checkpoints: a stopped trial ends as if it had never been stopped, and a damaged checkpoint is never used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from harness.config import code_version, expand, load_sweep
from harness.runs.journal import Journal
from harness.runs.jsonl import read_lines
from harness.runs.layout import ATTEMPTS, CHECKPOINTS, EVENTS, METRICS
from harness.runs.run import TrialRun
from harness.sweep.worker import run_one
from tests.integration.runs.stopped_trials import STOP_AFTER, Stopped

SMALL = (
    "steps=5", "eval_every=5", "checkpoint_every=2", "data.eval_questions=1", "data.eval_suites=[world_single]",
    "rollout.prompts_per_step=2", "rollout.group_size=4", "update.updates_per_batch=2",
)  # fmt: skip
KEY = "k" * 64


def trial_folder(home: Path, *overrides: str) -> Path:
    home.mkdir(parents=True)
    file = home / "sweep.yaml"
    file.write_text("name: t\nhypothesis: none\nprofile: tiny\nparameters: {}\nseeds: [0]\n")
    (trial,) = expand(load_sweep(file, [*SMALL, *overrides]))
    TrialRun(home / "trial").prepare(trial, code_version(), {})
    return home / "trial"


def run(folder: Path, stop_after: int | None = None) -> None:
    function = "tests.integration.runs.stopped_trials:stopping"
    if stop_after is None:
        run_one(TrialRun(folder), function)
        return
    os.environ[STOP_AFTER] = str(stop_after)
    try:
        with pytest.raises(Stopped):
            run_one(TrialRun(folder), function)
    finally:
        del os.environ[STOP_AFTER]


def flip(path: Path, position: int = -1000) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


def log(folder: Path) -> list[dict]:
    return [{k: v for k, v in r.items() if k in ("event", "why", "resumed_from")}
            for r in read_lines(folder / ATTEMPTS).records]  # fmt: skip


@pytest.mark.parametrize(
    "arm",
    [
        ("objective.clip={kind: matched, target: 0.1, low: 0.2, high: 0.2}", "objective.kl_weight=0.01"),
        ("policy.lora={rank: 2, alpha: 4.0}",),
        (
            "objective.credit={source: evidence, returns: telescoped, group: anchor, scale: batch_std, trace: 0.5}",
            "objective.surrogate=gmpo",
        ),
    ],
    ids=["matched clip and KL", "LoRA", "turn credit"],
)
def test_a_trial_stopped_twice_and_a_flipped_bit_end_as_if_nothing_had_been(tmp_path, arm):
    whole, stopped = trial_folder(tmp_path / "whole", *arm), trial_folder(tmp_path / "stopped", *arm)
    run(whole)
    run(stopped, stop_after=3)
    assert [s for s, *_ in TrialRun(stopped).metrics()] == [0, 1, 2, 3]
    run(stopped, stop_after=5)  # from 2
    flip(stopped / CHECKPOINTS / "step-000004.pt")
    run(stopped)  # from 2 again
    assert log(stopped) == [
        {"event": "start"},
        {"event": "ended before", "why": "failed"},
        {"event": "start", "resumed_from": 2},
        {"event": "ended before", "why": "failed"},
        {"event": "checkpoint not used", "why": "step-000004: its checksum does not match"},
        {"event": "start", "resumed_from": 2},
    ]
    assert TrialRun(stopped).comparable_journal() == TrialRun(whole).comparable_journal()
    assert TrialRun(stopped).result()["final"] == TrialRun(whole).result()["final"]
    assert not (stopped / CHECKPOINTS).exists()


@pytest.fixture
def kept(tmp_path) -> Path:
    checkpoints = TrialRun(tmp_path).checkpoints(KEY)
    with Journal(tmp_path) as journal:
        for step in range(4):
            journal.metrics(step, {"a": 1.0})
            checkpoints.write(step, {METRICS: step + 1, EVENTS: 0}, {"w": torch.full((300,), step)})
    return tmp_path


def test_the_newest_two_are_kept_and_the_newest_is_taken(kept):
    assert sorted(p.name for p in (kept / CHECKPOINTS).iterdir()) == [
        f"step-00000{s}.{end}" for s in (2, 3) for end in ("json", "pt")
    ]
    found, rejected = TrialRun(kept).newest_checkpoint(KEY)
    assert (found.step, found.lines[METRICS], rejected) == (3, 4, [])
    assert found.state()["w"].tolist() == [3] * 300


@pytest.mark.parametrize("file", ["step-000003.pt", "step-000003.json"])
def test_every_flipped_bit_and_truncation_is_detected(kept, file):
    path = kept / CHECKPOINTS / file
    raw = path.read_bytes()
    for position in range(0, len(raw) - 1, 7 if len(raw) < 1000 else 61):  # the last byte of a manifest is its newline
        flip(path, position)
        found, rejected = TrialRun(kept).newest_checkpoint(KEY)
        assert (found.step, len(rejected)) == (2, 1), position
        path.write_bytes(raw[:position])
        assert TrialRun(kept).newest_checkpoint(KEY)[0].step == 2
        path.write_bytes(raw)
    assert TrialRun(kept).newest_checkpoint(KEY)[0].step == 3


def test_a_checkpoint_of_another_trial_or_beyond_the_journal_is_not_used(kept):
    assert TrialRun(kept).newest_checkpoint("other") == (None, ["step-000003: it belongs to another trial",
                                                       "step-000002: it belongs to another trial"])  # fmt: skip
    path = kept / METRICS
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    found, rejected = TrialRun(kept).newest_checkpoint(KEY)
    assert (found.step, rejected) == (2, ["step-000003: the journal ends before it"])


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(kept):
    (kept / CHECKPOINTS / "step-000003.json").unlink()  # the manifest comes last
    assert TrialRun(kept).newest_checkpoint(KEY)[0].step == 2


def test_a_checkpoint_that_a_killed_trial_had_not_completed_is_removed_when_it_resumes(kept):
    before = sorted((kept / CHECKPOINTS).iterdir())
    (kept / CHECKPOINTS / ".step-000004.pt.4711.tmp").write_bytes(b"half")
    TrialRun(kept).checkpoints(KEY).remove_unfinished()
    assert sorted((kept / CHECKPOINTS).iterdir()) == before
