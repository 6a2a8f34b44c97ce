"""TrialRun: status, attempts, journal, episodes and lock of a trial's folder."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from harness.runs import layout
from harness.runs.journal import Journal
from harness.runs.layout import AttemptEvent
from harness.runs.lock import BusyError
from harness.runs.records import MetricsLine, TrialInfo, TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import damaged_files

ROOT = Path(__file__).parents[3]
INFO = TrialInfo("k1", "gspo_seed3", {"objective.preset": "gspo"}, {"objective.preset": "preset"}, 3, "c", {"steps": 2})


@pytest.fixture
def trial(tmp_path: Path) -> TrialRun:
    return TrialRun(tmp_path / "gspo_seed3-k1")


def start(trial: TrialRun, **fields: object) -> None:
    trial.folder.mkdir(exist_ok=True)
    with trial.attempt_log() as log:
        log.append({"event": AttemptEvent.START, **fields})


def test_the_status_follows_attempts_result_and_journal(trial):
    assert trial.status("k1") is TrialStatus.WAITING
    start(trial)
    assert trial.status("k1") is TrialStatus.RUNNING
    Journal(trial.folder).fail("k1", "Traceback\nValueError: no\n")
    assert (trial.status("k1"), trial.error_line()) == (TrialStatus.FAILED, "ValueError: no")
    with Journal(trial.folder) as journal:
        journal.metrics(0, {"eval/em": 0.5})
        journal.metrics(1, {"eval/em": 0.75})
        journal.finish("k1", {"eval/em": 0.75})
    assert trial.status("k1") is TrialStatus.FINISHED
    assert trial.status("another key") is TrialStatus.RUNNING
    path = trial.folder / layout.METRICS
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))
    assert trial.status("k1") is TrialStatus.RUNNING  # damaged: it has to run again
    assert [(line.step, line.values) for line in trial.readable_metrics()] == [(1, {"eval/em": 0.75})]
    with pytest.raises(ValueError, match="damaged journal"):
        trial.metrics()
    trial.truncate_damage()
    assert trial.metrics() == []


def test_a_resumed_attempt_keeps_the_start_of_its_journal(trial):
    start(trial)
    first = trial.journal_started()
    start(trial, continues=True, resumed_from=2)
    assert (len(trial.attempts()), trial.journal_started()) == (2, first)


def test_the_description_is_read_back_and_other_files_are_not_taken_for_one(trial):
    assert not trial.exists()
    trial.write_info(INFO, {"steps": 2})
    assert trial.exists()
    assert trial.info() == INFO
    assert trial.info().arm == "gspo"
    for text in ("[]", "{}", '{"config": {}, "colour": "red"}'):
        (trial.folder / layout.INFO).write_text(text)
        with pytest.raises(ValueError, match=r"trial\.json: (does not describe a trial|holds no JSON object)"):
            trial.info()


def test_episode_files_are_listed_by_step_and_split(trial):
    with Journal(trial.folder) as journal:
        for step, split in ((12, "train"), (2, "train"), (2, "eval_sampled"), (2, "eval")):
            journal.episodes(step, split, [])
    (trial.episodes_folder / "notes.parquet").touch()
    assert [(f.step, f.split) for f in trial.episode_files()] == [
        (2, "eval"), (2, "eval_sampled"), (2, "train"), (12, "train"),
    ]  # fmt: skip
    assert [f.path for f in trial.episode_files(2, "eval")] == [trial.episode_path(2, "eval")]
    assert [f.step for f in trial.episode_files(split="train")] == [2, 12]


def test_one_process_at_a_time_holds_the_lock(trial):
    with trial.lock(), pytest.raises(BusyError, match=trial.folder.name), trial.lock():
        pass
    with trial.lock(wait_s=1.0):
        pass


def test_the_fingerprint_changes_with_metrics_result_and_attempts_alone(trial):
    seen = [trial.fingerprint()]
    start(trial)
    seen.append(trial.fingerprint())
    journal = Journal(trial.folder)
    journal.metrics(0, {"eval/em": 0.5})
    seen.append(trial.fingerprint())
    journal.event("kept")
    journal.episodes(0, "eval", [])
    assert trial.fingerprint() == seen[-1]
    journal.finish("k1", {})
    assert len({*seen, trial.fingerprint()}) == 4


def test_metrics_lines_are_tuples_of_step_values_and_time(trial):
    with Journal(trial.folder, clock=lambda: 7) as journal:
        journal.metrics(3, {"b": 2, "a": 1})
    assert trial.metrics() == [MetricsLine(3, {"a": 1.0, "b": 2.0}, 7)] == [(3, {"a": 1.0, "b": 2.0}, 7)]


def test_no_other_room_reads_a_journal_file():
    names = {layout.METRICS, layout.EVENTS, layout.SYSTEM, layout.ATTEMPTS, layout.RESULT}
    for room in ("harness", "analysis", "reports"):
        for path in (ROOT / room).rglob("*.py"):
            if path.parent != ROOT / "harness" / "runs":
                tree = ast.parse(path.read_text(encoding="utf-8"))
                words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
                imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
                assert not words & names, path
                assert "read_lines" not in imported, path


def test_stored_kinds_of_attempt_records_do_not_change():
    assert json.loads(json.dumps(list(AttemptEvent))) == [
        "start", "differs", "ended before", "journal damaged", "checkpoint not used",
    ]  # fmt: skip


@pytest.mark.parametrize("file", ["metrics.jsonl", "events.jsonl", "result.json"])
@pytest.mark.parametrize("line", [0, -1])
def test_every_damaged_file_of_a_finished_trial_is_named(tmp_path, file, line):
    folder = tmp_path / "trials" / "a-1"
    with Journal(folder) as journal:
        for step in range(3):
            journal.event("walked", step=step)
            journal.metrics(step, {"eval/em": 0.5})
        journal.finish("k", {"eval/em": 0.5})
    run = TrialRun(folder)
    assert damaged_files(run) == []
    lines = (folder / file).read_bytes().splitlines(keepends=True)
    lines[line] = lines[line].replace(b":", b";", 1)
    (folder / file).write_bytes(b"".join(lines))
    (found,) = damaged_files(run)
    assert found.startswith(f"a-1/{file}:{len(lines) if line else 1}: ")
    if file != "events.jsonl":
        assert run.status("k") is not TrialStatus.FINISHED  # it runs again
