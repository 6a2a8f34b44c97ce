"""The journal: what is committed survives a kill at any byte, damage is reported, equal runs give equal content."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.runs import journal as journal_module
from harness.runs.journal import Journal
from harness.runs.jsonl import read_lines, seal, unseal
from harness.runs.layout import EPISODES, EVENTS, METRICS, POLICIES, RESULT
from harness.runs.run import TrialRun
from tests.support.examples import examples

VALUES = {"train/em": 0.25, "eval/em/nq": 1 / 3, "update/kl": 1e-17, "time/step_s": 0.5}


def write(directory: Path, steps: int, start_ts: int = 1000) -> Path:
    ticks = itertools.count(start_ts, 7)
    with Journal(directory, clock=lambda: next(ticks)) as journal:
        for step in range(steps):
            journal.event("evaluated", step=step)
            journal.metrics(step, {**VALUES, "step": step})
    return directory


def test_what_is_written_is_read_back_exactly(tmp_path):
    rows = list(TrialRun(write(tmp_path, 3)).metrics())
    assert [(step, values) for step, values, _ in rows] == [(s, {**VALUES, "step": float(s)}) for s in range(3)]
    assert [ts for *_, ts in rows] == [1007, 1021, 1035]


@given(st.dictionaries(st.text(min_size=1), st.floats(allow_nan=False)))
@settings(deadline=None)
def test_any_number_survives(tmp_path_factory, values):
    directory = tmp_path_factory.mktemp("j")
    with Journal(directory) as journal:
        journal.metrics(0, {**values, "nan!": math.nan})
    [(_, back, _)] = TrialRun(directory).metrics()
    assert math.isnan(back.pop("nan!"))
    assert back == values


def test_lines_are_json_for_any_reader(tmp_path):
    with Journal(tmp_path) as journal:
        journal.metrics(0, {"a": math.inf, "b": math.nan})
    line = (tmp_path / METRICS).read_text()
    assert json.loads(line, parse_constant=pytest.fail)["values"] == {"a": "inf", "b": "nan"}


@given(cut=st.integers(0, 10_000))
@settings(deadline=None, max_examples=examples(80))
def test_a_kill_at_any_byte_loses_only_the_unfinished_line(tmp_path_factory, cut):
    directory = write(tmp_path_factory.mktemp("j"), 4)
    path = directory / METRICS
    whole = path.read_bytes()
    cut = cut % (len(whole) + 1)
    path.write_bytes(whole[:cut])
    complete = whole[:cut].count(b"\n")
    assert [step for step, *_ in TrialRun(directory).metrics()] == list(range(complete))
    with Journal(directory) as journal:
        journal.metrics(complete, VALUES)
    assert [step for step, *_ in TrialRun(directory).metrics()] == list(range(complete + 1))
    assert not read_lines(path).damage


def test_every_flipped_bit_is_noticed(tmp_path):
    path = write(tmp_path, 3) / METRICS
    raw = path.read_bytes()
    for position, bit in itertools.product(range(len(raw)), range(8)):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << bit
        path.write_bytes(flipped)
        line = raw[:position].count(b"\n") + 1
        found = read_lines(path)
        assert [d.line for d in found.damage][:1] == [line], (position, bit)
        assert all(r["step"] != line - 1 for r in found.records)


def test_a_lost_line_is_noticed_and_nothing_more_is_written(tmp_path):
    path = write(tmp_path, 3) / METRICS
    first, _, last = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + last)
    assert str(read_lines(path).damage[0]) == f"{path}:2: line 2 found where 1 belongs"
    with pytest.raises(ValueError, match="damaged journal"):
        TrialRun(tmp_path).metrics()
    with pytest.raises(ValueError, match="damaged journal"):
        Journal(tmp_path)


def test_equal_runs_have_equal_journals_whatever_the_time(tmp_path):
    a, b = write(tmp_path / "a", 3, 1000), write(tmp_path / "b", 3, 5000)
    assert (a / METRICS).read_bytes() != (b / METRICS).read_bytes()
    assert TrialRun(a).comparable_journal() == TrialRun(b).comparable_journal()
    with Journal(b) as journal:
        journal.metrics(3, {"time/step_s": 9.0, "train/em": 0.5})
    with Journal(a) as journal:
        journal.metrics(3, {"time/step_s": 1.0, "train/em": 0.5})
    assert TrialRun(a).comparable_journal() == TrialRun(b).comparable_journal()
    with Journal(a) as journal:
        journal.metrics(4, {"train/em": 0.5})
    with Journal(b) as journal:
        journal.metrics(4, {"train/em": 0.5000000000000001})
    assert TrialRun(a).comparable_journal() != TrialRun(b).comparable_journal()


def test_a_result_names_the_trial_and_its_end(tmp_path):
    assert TrialRun(tmp_path).result() is None
    journal = Journal(tmp_path)
    journal.finish("k1", {"final/em": math.nan, "final/f1": 0.5})
    result = TrialRun(tmp_path).result()
    assert (result["status"], result["key"], result["final"]["final/f1"]) == ("finished", "k1", 0.5)
    Journal(tmp_path).fail("k1", "Traceback\nValueError: no")
    assert TrialRun(tmp_path).result()["error"].endswith("ValueError: no")
    (tmp_path / RESULT).write_bytes((tmp_path / RESULT).read_bytes()[:-20])
    assert TrialRun(tmp_path).result() is None


def test_a_reset_removes_the_journal_and_keeps_other_files(tmp_path):
    write(tmp_path, 2)
    (tmp_path / "config.yaml").write_text("seed: 1")
    TrialRun(tmp_path).reset_journal()
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]


def test_metrics_and_the_events_before_them_are_durable_on_return(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        journal_module.os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))
    )
    journal = Journal(tmp_path)
    journal.event("fault", kind_of="timeout")
    assert not synced
    journal.metrics(0, VALUES)
    assert [Path(p).name for p in synced] == ["events.jsonl", "metrics.jsonl"]
    journal.close()


def test_a_full_disk_stops_cleanly_and_loses_nothing_committed(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    journal.metrics(0, VALUES)

    def full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        journal.metrics(1, VALUES)
    monkeypatch.undo()
    journal.close()
    with Journal(tmp_path) as again:
        again.metrics(2, VALUES)
    steps = [step for step, *_ in TrialRun(tmp_path).metrics()]
    assert steps[0] == 0
    assert steps[-1] == 2


def test_unfinished_files_of_a_killed_writer_are_removed_when_its_trial_resumes(tmp_path):
    def half(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"x")
        os._exit(0)  # as a kill: nothing after it runs

    with Journal(tmp_path) as journal:
        journal.policy(3, lambda folder: (folder / "model.safetensors").write_bytes(b"whole") and None)
        journal.episodes(3, "train", [])
    child = os.fork()
    if child == 0:
        Journal(tmp_path).policy(3, half)
    os.waitpid(child, 0)
    [staging] = (tmp_path / POLICIES).glob(".*")
    for file in (f"{EPISODES}/.step-000004-train.parquet.{child}.tmp", f".{RESULT}.{child}.tmp"):
        (tmp_path / file).write_bytes(b"half")
    Journal(tmp_path).close()
    assert list(tmp_path.rglob("*.tmp")) == []
    assert not staging.exists()
    assert (TrialRun(tmp_path).policy_path(3) / "model.safetensors").read_bytes() == b"whole"
    assert [p.name for p in (tmp_path / EPISODES).iterdir()] == ["step-000003-train.parquet"]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c), max_leaves=6
    )
)
@settings(deadline=None)
def test_sealing_is_undone_by_unsealing(value):
    record = unseal(seal({"body": value}).encode())
    assert record["body"] == value


@given(st.binary(max_size=60))
def test_garbage_is_never_taken_for_a_record(raw):
    assert unseal(raw) is None


def resumed(directory: Path, at: int, reports: list[str]) -> Journal:
    ticks = itertools.count(9000)
    return Journal(
        directory, clock=lambda: next(ticks), resume_at={METRICS: at, EVENTS: at}, on_divergence=reports.append
    )  # fmt: skip


@given(at=st.integers(0, 4), replayed=st.integers(0, 6))
@settings(max_examples=examples(20), deadline=None)
def test_replayed_lines_stay_to_the_byte(tmp_path_factory, at, replayed):
    directory, reports = write(tmp_path_factory.mktemp("j"), 4), []
    before = (directory / METRICS).read_bytes()
    with resumed(directory, at, reports) as journal:
        for step in range(at, at + replayed):
            journal.event("evaluated", step=step)
            journal.metrics(step, {**VALUES, "step": step, "time/step_s": 9.0})
    after = (directory / METRICS).read_bytes()
    assert (after[: len(before)], reports) == (before, [])
    assert [step for step, *_ in TrialRun(directory).metrics()] == list(range(max(4, at + replayed)))
    assert [ts for *_, ts in TrialRun(directory).metrics()][4:] == [9001 + 2 * i for i in range(at + replayed - 4)]


def test_a_diverging_replay_is_reported_and_replaces_the_rest(tmp_path):
    reports: list[str] = []
    write(tmp_path, 4)
    with resumed(tmp_path, 1, reports) as journal:
        for step in (1, 2):
            journal.event("evaluated", step=step)
            journal.metrics(step, {**VALUES, "step": step, "update/kl": step})
        journal.finish("k", {})
    assert [report.rpartition(": ")[0] for report in reports] == ["metrics.jsonl:2", "events.jsonl:4"]
    assert [values["update/kl"] for _, values, _ in TrialRun(tmp_path).metrics()] == [1e-17, 1, 2]
    assert not read_lines(tmp_path / METRICS).damage


def test_damage_is_described_and_truncated_before_its_line(tmp_path):
    path = write(tmp_path, 4) / METRICS
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"\n") + 20] ^= 1
    path.write_bytes(raw)
    assert TrialRun(tmp_path).damage() == ["metrics.jsonl:2: checksum does not match"]
    TrialRun(tmp_path).truncate_damage()
    assert [step for step, *_ in TrialRun(tmp_path).metrics()] == [0]
    assert TrialRun(tmp_path).damage() == []
