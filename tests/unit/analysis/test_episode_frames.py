"""Parquet → frames: the same facts as the trajectories, vectorised."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis.episode_frames import has_failure, load_episodes, read_rows
from analysis.load import load_frames
from harness.runs.episode_store import SCHEMA
from harness.types import OperatorFailure, ParseFailure
from tests.support.synthetic_episodes import answer, call, episode, malformed, random_episodes, write
from tests.support.synthetic_sweep import made_frames, write_sweep


@pytest.fixture
def sweep(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames(seeds=(0, 1), unfinished=["gspo_seed1"]))
    trajectories = {}
    for i, trial in enumerate(sorted(p.name for p in (root / "trials").iterdir())):
        for step in (0, 20):
            trajectories[trial, step] = random_episodes(np.random.default_rng([i, step]), questions=6)
            write(root, trial, step, "eval", trajectories[trial, step])
    return root, trajectories


def test_every_fact_of_a_trajectory_survives(sweep):
    root, trajectories = sweep
    data = load_episodes(load_frames(root))
    frame, turns = data.episodes, data.turns
    assert "gspo_seed1" not in set(frame["trial"])
    for (trial, step), group in frame.groupby(["trial", "step"], observed=True):
        source = trajectories[trial, step]
        assert group["em"].tolist() == [t.reward.em for t in source]
        assert group["reward"].tolist() == pytest.approx([t.reward.total for t in source])
        assert group["hops"].tolist() == [t.question.hops for t in source]
        assert group["n_turns"].tolist() == [len(t.turns) for t in source]
        assert group["n_ok"].tolist() == [sum(u.parsed.well_formed for u in t.turns) for t in source]
        for kind in ParseFailure:
            assert has_failure(group["failures"], kind).tolist() == [kind in t.failures for t in source]
        rows = turns[turns["episode"].isin(group.index)]
        flat = [(i, u) for t in source for i, u in enumerate(t.turns)]
        assert rows["turn"].tolist() == [i for i, _ in flat]
        assert rows["ok"].tolist() == [u.parsed.well_formed for _, u in flat]
        assert [o if isinstance(o, str) else None for o in rows["operator"]] == [
            u.parsed.action.operator if u.parsed.action else None for _, u in flat
        ]


def test_a_question_has_one_code_in_all_trials_and_another_in_another_suite(sweep):
    frame = load_episodes(load_frames(sweep[0])).episodes
    assert frame["question"].nunique() == 12
    assert (frame.groupby("question")["suite"].nunique() == 1).all()
    per_trial = frame.groupby(["trial", "step"], observed=True)["question"].apply(frozenset)
    assert per_trial.nunique() == 1


def test_masks_renumber_the_turns_of_their_episodes(sweep):
    data = load_episodes(load_frames(sweep[0]))
    part = data.of(data.episodes["step"] == 20)
    assert part.turns.groupby("episode").size().tolist() == part.episodes["n_turns"].tolist()
    assert set(load_episodes(load_frames(sweep[0]), last_only=True).episodes["step"]) == {20}


def test_faults_and_operator_failures_are_read(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    turns = [call(fault="wrong_passage"), call("Review", failure=OperatorFailure.TIMEOUT), malformed(), answer()]
    write(root, "grpo_seed0", 20, "eval_fault", [episode(turns, hops=None), episode([malformed()] * 3, em=0.0)])
    data = load_episodes(load_frames(root))
    assert data.episodes["faults"].tolist() == [1, 0]
    assert data.episodes["hops"].tolist() == [-1, 1]
    assert data.episodes["stop"].tolist() == ["answered", "turn_budget"]
    first = data.turns[data.turns["episode"] == 0]
    assert [v if isinstance(v, str) else None for v in first["fault"]] == ["wrong_passage", None, None, None]
    assert [v if isinstance(v, str) else None for v in first["operator_failure"]] == [None, "timeout", None, None]
    assert [v if isinstance(v, str) else None for v in first["result_of"]] == ["Search", "Review", "WarningOp", None]


def test_whole_rows_are_read_only_when_asked(sweep):
    root, trajectories = sweep
    data = load_episodes(load_frames(root))
    path = data.source["grpo_seed0", 20, "eval"]
    rows = read_rows(path, [3, 1])
    assert [r["index"] for r in rows] == [3, 1]
    assert rows[0]["turns"][0]["text"] == trajectories["grpo_seed0", 20][3].turns[0].parsed.text


def test_a_broken_file_is_named(sweep):
    root, _ = sweep
    (root / "trials" / "grpo_seed0" / "episodes" / "step-000020-eval.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"grpo_seed0.*step-000020-eval\.parquet"):
        load_episodes(load_frames(root))


def test_a_flipped_bit_in_a_finished_trials_metrics_excludes_the_trial_with_a_reason(sweep):
    root, _ = sweep
    path = root / "trials" / "grpo_seed0" / "episodes" / "step-000020-eval.parquet"
    column = pq.ParquetFile(path).metadata.row_group(0).column(SCHEMA.get_field_index("em"))
    raw = bytearray(path.read_bytes())
    raw[column.data_page_offset + column.total_compressed_size - 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"grpo_seed0/episodes/step-000020-eval\.parquet: .*checksum does not match"):
        load_episodes(load_frames(root))
    with pytest.raises(ValueError, match=r"step-000020-eval\.parquet: its checksum does not match"):
        read_rows(path, [0])


def test_an_episode_that_was_not_scored_is_named(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    write(root, "grpo_seed0", 20, "eval", [episode([call(), answer()], em=float("nan"))])
    with pytest.raises(ValueError, match=r"step-000020-eval\.parquet: 1 episodes have no EM"):
        load_episodes(load_frames(root))


def test_a_sweep_without_episodes_gives_empty_frames(tmp_path):
    data = load_episodes(load_frames(write_sweep(tmp_path / "s", made_frames(seeds=(0,)))))
    assert data.episodes.empty
    assert data.turns.empty
