"""The comparison of two sweeps finds every change of a number, a name or a text, and nothing else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import equivalence
from tests.equivalence import RENAMES, SECTIONS, compare_runs, read_renames

NO_RENAMES = {section: {} for section in SECTIONS}
EPISODE = "episodes/step-000001-eval.parquet"
Change = Callable[[Path], None]


def write_lines(path: Path, *lines: dict) -> None:
    path.write_text("".join(json.dumps({"n": n, **line}) + "\n" for n, line in enumerate(lines)))


def write_episodes(path: Path, logprob: float = -0.25, **column: object) -> None:
    turn = {"text": "<think>a</think>", "logprob_sum": logprob, "generate_s": 0.1, "calls": [{"operator": "Search"}]}
    row = {"question_id": "q", "em": 1.0, "f1": float("nan"), "turns": [turn]} | column
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([row, row]), path)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two equal sweeps of two trials, whose keys, times and checksums differ."""
    for side, key in (("before", "0a1b2c3d"), ("after", "ffffffff")):
        for name in ("grpo_seed0", "gspo-fixed_seed0"):
            trial = tmp_path / side / "trials" / f"{name}-{key}"
            trial.mkdir(parents=True)
            values = {"eval/em": 0.1142857142857143, "time/step_s": len(side) / 7}
            stamps = {"ts": len(side), "crc": key}
            write_lines(trial / "metrics.jsonl", *({"step": s, "values": values, **stamps} for s in (0, 1)))
            write_lines(trial / "events.jsonl", {"kind": "policy_kept", "fields": {"step": 1}, **stamps})
            write_lines(trial / "attempts.jsonl", {"event": "start", "pid": len(side), "code": key, **stamps})
            (trial / "result.json").write_text(json.dumps({"status": "finished", "key": key, "final": values}))
            write_episodes(trial / EPISODE)
    return tmp_path / "before", tmp_path / "after"


def trial(runs: Path) -> Path:
    return next((runs / "trials").glob("grpo_seed0-*"))


def replace(file: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1))

    return change


def drop_last_line(folder: Path) -> None:
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:-1]))


CHANGES: dict[str, tuple[Change, str]] = {
    "digit of a metric": (replace("metrics.jsonl", "0.1142857142857143", "0.1142857142857144"), "eval/em"),
    "type of a metric": (replace("metrics.jsonl", "0.1142857142857143", "1"), "eval/em"),
    "name of a metric": (replace("metrics.jsonl", "eval/em", "eval/exact"), "eval/exact"),
    "line of metrics": (drop_last_line, "2 records before, 1 after"),
    "kind of an event": (replace("events.jsonl", "policy_kept", "kept"), "kind"),
    "field of an event": (replace("events.jsonl", '"step": 1', '"step": 2'), "fields.step"),
    "event of an attempt": (replace("attempts.jsonl", "start", "differs"), "attempts.jsonl"),
    "status": (replace("result.json", "finished", "failed"), "status"),
    "final metric": (replace("result.json", "0.1142857142857143", "0.1142857142857144"), "final.eval/em"),
    "digit of an episode": (
        lambda t: write_episodes(t / EPISODE, logprob=-0.25000000000000006),
        "turns[0].logprob_sum",
    ),
    "text of an episode": (lambda t: write_episodes(t / EPISODE, question_id="r"), "question_id"),
    "column of an episode": (lambda t: write_episodes(t / EPISODE, lenient=1.0), "lenient"),
    "episode file": (lambda t: (t / EPISODE).unlink(), "only in"),
    "events file": (lambda t: (t / "events.jsonl").unlink(), "only in"),
    "trial": (lambda t: shutil.rmtree(t), "trial grpo_seed0: only in"),
}


def test_sweeps_that_differ_in_times_keys_and_checksums_alone_are_identical(runs):
    counts, differences = compare_runs(*runs, NO_RENAMES)
    assert differences == []
    assert counts == {
        "metrics.jsonl": 4, "events.jsonl": 2, "attempts.jsonl": 2, "result.json": 2, "episodes/*.parquet": 4,
    }  # fmt: skip


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("what", CHANGES)
def test_a_change_on_either_side_is_found_and_located(runs, what, side):
    change, place = CHANGES[what]
    change(trial(runs[side]))
    _, differences = compare_runs(*runs, NO_RENAMES)
    if what == "line of metrics" and side == 0:
        place = "1 records before, 2 after"
    assert differences
    assert all("grpo_seed0" in line for line in differences)
    assert any(place in line for line in differences)


def test_recorded_renames_are_applied_to_the_earlier_sweep(runs):
    for name in ("metrics.jsonl", "result.json"):
        replace(name, "eval/em", "eval/exact_match")(trial(runs[1]))
    path = trial(runs[1]) / "metrics.jsonl"
    path.write_text(path.read_text().replace('"eval/em"', '"eval/exact_match"'))
    shutil.rmtree(next((runs[0] / "trials").glob("gspo-*")))
    shutil.rmtree(next((runs[1] / "trials").glob("gspo-*")))
    replace("events.jsonl", "policy_kept", "policy_exported")(trial(runs[1]))
    renames = NO_RENAMES | {"metrics": {"eval/em": "eval/exact_match"}, "events": {"policy_kept": "policy_exported"}}
    assert compare_runs(*runs, renames)[1] == []
    assert compare_runs(*runs, NO_RENAMES)[1] != []
    assert compare_runs(runs[1], runs[0], renames)[1] != []


def test_folders_without_trials_are_not_called_identical(tmp_path, capsys):
    assert equivalence.main([str(tmp_path), str(tmp_path)]) == 1
    assert "identical" not in capsys.readouterr().out


def test_the_exit_status_and_the_output_show_the_outcome(runs, capsys):
    assert equivalence.main([str(folder) for folder in runs]) == 0
    assert "identical" in capsys.readouterr().out
    CHANGES["digit of a metric"][0](trial(runs[1]))
    assert equivalence.main([str(folder) for folder in runs]) == 1
    assert "eval/em: 0.1142857142857143 before, 0.1142857142857144 after" in capsys.readouterr().out


def test_the_committed_map_is_valid_and_an_ambiguous_one_is_refused(tmp_path):
    assert set(read_renames(RENAMES)) == set(SECTIONS)
    for content in ({"metrics": {}}, NO_RENAMES | {"metrics": {"a": "c", "b": "c"}}):
        path = tmp_path / "renames.json"
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError):
            read_renames(path)


def test_a_rename_onto_a_name_in_use_is_refused(runs):
    write_lines(trial(runs[0]) / "metrics.jsonl", {"step": 0, "values": {"a": 1, "b": 2}})
    with pytest.raises(ValueError):
        compare_runs(*runs, NO_RENAMES | {"metrics": {"a": "b"}})
