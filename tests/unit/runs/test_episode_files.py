"""Episodes as Parquet: every field of a trajectory, atomically, in bytes that depend on nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.runs import jsonl
from harness.runs.episode_store import SCHEMA, episode_path, read_episodes, write_episodes
from harness.runs.journal import Journal
from harness.runs.layout import EPISODES
from harness.types import (
    Action,
    ActionKind,
    Fault,
    OperatorFailure,
    OperatorResult,
    ParsedTurn,
    ParseFailure,
    Question,
    Reward,
    Span,
    StopReason,
    Trajectory,
    Turn,
)  # fmt: skip

CALL = "<think>look</think><tool>Search: Ghana</tool>"
ANSWER = "<answer>Accra</answer>"


def episode(seed: int = 3) -> Trajectory:
    question = Question("q1", "Capital of Ghana?", ("Accra",), "world_single", hops=None)
    result = OperatorResult(
        "Search", "[1] Ghana", OperatorFailure.EMPTY, 11, 5, 0.25, 0.001, True, 2, Fault("cut", 0, "[1] Ghana: Accra")
    )
    call = ParsedTurn(CALL, Span(0, 19), Action(ActionKind.TOOL, "Ghana", Span(19, len(CALL)), "Search"))
    final = ParsedTurn(ANSWER, None, None, (ParseFailure.MISSING_THINK,), "Accra")
    return Trajectory(
        question,
        (1, 2, 3),
        (Turn((4, 5), (-0.5, -0.25), call, 1, (6, 7, 8), result), Turn((9,), (-1.0,), final, 0)),
        StopReason.ANSWERED,
        Reward(0.5, 1.0, -0.5, 1.0, 1.0, 1.0, "Accra"),
        (ParseFailure.MISSING_THINK,),
        seed,
    )


def test_an_episode_is_read_back_whole(tmp_path):
    path = write_episodes(tmp_path, 12, "eval", [episode()], held_out=lambda q: q.id == "q1")
    assert path == tmp_path / "step-000012-eval.parquet"
    [row] = read_episodes(path)
    turns = row.pop("turns")
    assert row == {
        "step": 12, "split": "eval", "index": 0, "question_id": "q1", "question": "Capital of Ghana?",
        "suite": "world_single", "hops": None, "gold": ["Accra"], "held_out": True, "sample_seed": 3,
        "stop": "answered", "reward": 0.5, "reward_outcome": 1.0, "reward_format": -0.5, "em": 1.0, "f1": 1.0,
        "lenient": 1.0, "answer": "Accra", "failures": ["missing_think"], "operators": ["Search"], "faults": 1,
        "tokens": 3, "tokens_seen": 9,
    }  # fmt: skip
    assert turns[0] == {
        "text": CALL, "think": "<think>look</think>", "failures": [], "action": "tool", "operator": "Search",
        "action_text": "Ghana", "answer_text": None, "tokens": 2, "action_start": 1, "logprob_sum": -0.75,
        "generate_s": 0.0, "operate_s": 0.0,
        "observation": "[1] Ghana", "observation_tokens": 3, "result_of": "Search", "operator_failure": "empty",
        "prompt_tokens": 11, "completion_tokens": 5, "latency_s": 0.25, "cost_usd": 0.001, "cached": True, "retries": 2,
        "fault": "cut", "fault_call": 0, "fault_true_text": "[1] Ghana: Accra",  "calls": [],
    }  # fmt: skip
    assert (turns[1]["action"], turns[1]["answer_text"], turns[1]["observation"]) == (None, "Accra", None)


def test_files_have_the_documented_schema_and_compression(tmp_path):
    path = write_episodes(tmp_path, 0, "train", [])
    assert pq.read_schema(path).equals(SCHEMA, check_metadata=False)
    assert pq.read_schema(path).metadata[b"schema"] == b"episodes/1"
    path = write_episodes(tmp_path, 0, "train", [episode()])
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "SNAPPY"


READING = """
import os, sys
from harness.runs.episode_store import open_episodes, read_episodes

before = os.listdir("/proc/self/task")
read_episodes(sys.argv[1])
open_episodes(sys.argv[1]).read(columns=["failures", "turns.list.element.failures"])
print(len(os.listdir("/proc/self/task")) - len(before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_reading_leaves_no_thread_that_could_abort_the_end_of_the_process(tmp_path):
    path = write_episodes(tmp_path, 0, "train", [episode()] * 40)
    done = subprocess.run([sys.executable, "-c", READING, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 0


def test_equal_episodes_give_equal_bytes(tmp_path):
    a = write_episodes(tmp_path / "a", 1, "train", [episode(), episode(4)])
    b = write_episodes(tmp_path / "b", 1, "train", [episode(), episode(4)])
    c = write_episodes(tmp_path / "c", 1, "train", [episode(), episode(5)])
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def test_a_failed_write_leaves_the_earlier_file_and_no_litter(tmp_path, monkeypatch):
    path = write_episodes(tmp_path, 1, "train", [episode()])
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(jsonl.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_episodes(tmp_path, 1, "train", [episode(9)])
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_a_file_is_durable_under_its_name_on_return(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(jsonl.os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd)))
    path = write_episodes(tmp_path, 1, "train", [episode()])
    assert [Path(p).name for p in synced] == [f".{path.name}.{os.getpid()}.tmp", tmp_path.name]


@pytest.mark.parametrize("bit", [0, 6])
def test_a_flipped_bit_anywhere_is_reported_with_the_file_s_name(tmp_path, bit):
    path = write_episodes(tmp_path, 1, "train", [episode(), episode(4)])
    raw, rows = path.read_bytes(), read_episodes(path)
    mark = raw.index(b"crc-32 ")
    for position in range(0, len(raw), 5):
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1 << bit]) + raw[position + 1 :])
        if mark <= position < mark + 7:  # nothing but the word for the checksum: the file is as good as one without
            assert read_episodes(path) == rows
        else:
            with pytest.raises(pa.ArrowInvalid, match=path.name):
                read_episodes(path)


def test_a_truncated_file_is_reported_with_its_name(tmp_path):
    path = write_episodes(tmp_path, 1, "train", [episode()])
    raw = path.read_bytes()
    for length in (0, 3, 11, 500, len(raw) - 9, len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(pa.ArrowInvalid, match=path.name):
            read_episodes(path)


def test_any_reader_of_parquet_reads_a_file_and_one_without_a_checksum_is_read(tmp_path):
    path = write_episodes(tmp_path, 1, "train", [episode(), episode(4)])
    rows = read_episodes(path)
    assert pq.ParquetFile(path, page_checksum_verification=True).read().to_pylist() == rows
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    assert read_episodes(path) == rows


def test_a_split_cannot_leave_its_folder(tmp_path):
    with pytest.raises(ValueError, match="split"):
        write_episodes(tmp_path, 1, "../up", [])


def test_the_journal_puts_episodes_in_their_folder(tmp_path: Path):
    with Journal(tmp_path) as journal:
        journal.episodes(2, "eval_sampled", [episode()])
    [row] = read_episodes(episode_path(tmp_path / EPISODES, 2, "eval_sampled"))
    assert row["held_out"] is None
