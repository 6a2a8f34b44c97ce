"""MLflow as a view: written from journals any number of times, it says what they say, once."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from harness.config import code_version, expand, load_sweep
from harness.driver.layout import RunFolder, prepare_trial, read_info, write_manifest
from harness.driver.worker import run_one
from harness.journal import METRICS, Journal, read_metrics
from harness.tracking import Tracker, replay
from harness.tracking.__main__ import main

SWEEP = """\
name: demo
hypothesis: h
profile: tiny
fixed: {steps: 2, eval_every: 1, data.eval_suites: [world_single]}
parameters: {objective.preset: {values: [gsspo, gspo]}}
seeds: [3]
"""


def make(home: Path, *functions: str) -> RunFolder:
    """A sweep's folder, its trials run here and now; a trial without a function stays unrun."""
    path = home / "demo.yaml"
    path.write_text(SWEEP)
    spec = load_sweep(path)
    folder = RunFolder(home / "runs" / "demo")
    write_manifest(folder, spec)
    for trial, function in itertools.zip_longest(expand(spec), functions):
        prepare_trial(folder.trial(trial), trial, code_version(), spec.labels)
        if function:
            try:
                run_one(folder.trial(trial), f"tests.sweep.cheap_trials:{function}")
            except ArithmeticError:
                assert function == "gspo_fails"
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> RunFolder:
    return make(tmp_path_factory.mktemp("made"), "learns", "gspo_fails")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A migrated database without runs, to copy: a migration takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(made, empty_store, tmp_path) -> RunFolder:
    shutil.copytree(made.root, tmp_path / "runs" / "demo")
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return RunFolder(tmp_path / "runs" / "demo")


def seen(folder: RunFolder) -> dict:
    """Everything a reader of MLflow sees of the sweep, without MLflow's own identifiers."""
    client = MlflowClient(f"sqlite:///{folder.root.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo").experiment_id
    shown = {}
    for run in client.search_runs([experiment]):
        name, counts = run.info.run_name, Counter(r.info.run_name for r in client.search_runs([experiment]))
        assert counts[name] == 1, f"{name} is there {counts[name]} times"
        shown[name] = {
            "status": run.info.status,
            "times": (run.info.start_time if name != "demo" else 0, run.info.end_time if name != "demo" else 0),
            "params": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            "inputs": sorted(d.dataset.digest for d in run.inputs.dataset_inputs),
            "artifacts": sorted(a.path for a in client.list_artifacts(run.info.run_id)),
            "metrics": {
                key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
        }
    return shown


def test_a_replay_says_what_the_journals_say(folder):
    replay(folder.root)
    shown = seen(folder)
    assert {name: run["status"] for name, run in shown.items()} == {
        "demo": "FAILED", "gsspo_seed3": "FINISHED", "gspo_seed3": "FAILED",
    }  # fmt: skip
    [trial] = folder.trials.glob("gsspo*")
    rows = list(read_metrics(trial))
    metrics = shown["gsspo_seed3"]["metrics"]
    for name in rows[0][1]:
        assert metrics[name] == [(step, ts, values[name]) for step, values, ts in rows]
    assert metrics["final/em"][0][2] == rows[-1][1]["eval/em"]
    assert shown["gsspo_seed3"]["times"][0] <= rows[0][2]


def test_replaying_twice_changes_nothing(folder):
    replay(folder.root)
    once = seen(folder)
    replay(folder.root)
    assert seen(folder) == once


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3000), max_size=3).map(sorted))
def test_following_a_growing_journal_ends_where_a_replay_ends(made, empty_store, tmp_path_factory, cuts):
    homes = [tmp_path_factory.mktemp("h") / "runs" for _ in range(2)]
    for home in homes:
        shutil.copytree(made.root, home / "demo")
        shutil.copy(empty_store, home / "mlflow.db")
    whole, grown = (RunFolder(home / "demo") for home in homes)
    replay(whole.root)
    [trial] = grown.trials.glob("gsspo*")
    raw, result = (trial / METRICS).read_bytes(), (trial / "result.json").read_bytes()
    (trial / "result.json").unlink()
    tracker = Tracker(grown, f"sqlite:///{grown.root.parent / 'mlflow.db'}", "demo")
    for (
        cut
    ) in cuts:  # a kill of the writer between any two of these loses nothing: a new one starts from the first line
        (trial / METRICS).write_bytes(raw[:cut])
        tracker.sync(trial)
        if cut % 2:
            tracker = Tracker(grown, f"sqlite:///{grown.root.parent / 'mlflow.db'}", "demo")
    (trial / METRICS).write_bytes(raw)
    (trial / "result.json").write_bytes(result)
    replay(grown.root)
    assert seen(grown) == seen(whole)


def test_a_trial_that_was_started_again_has_one_run_and_one_curve(folder):
    replay(folder.root)
    [trial] = folder.trials.glob("gspo*")
    run_one(trial, "tests.sweep.cheap_trials:learns")
    replay(folder.root)
    shown = seen(folder)
    assert shown["gspo_seed3"]["status"] == "FINISHED"
    assert [step for step, *_ in shown["gspo_seed3"]["metrics"]["eval/em"]] == [0, 1, 2]
    assert "error" not in shown["gspo_seed3"]["tags"]
    assert shown["demo"]["status"] == "FINISHED"


def test_a_trial_that_has_gone_leaves_mlflow_and_one_that_never_began_is_not_there(folder):
    replay(folder.root)
    [gone] = folder.trials.glob("gspo*")
    shutil.rmtree(gone)
    replay(folder.root)
    assert set(seen(folder)) == {"demo", "gsspo_seed3"}


def test_an_unfinished_trial_is_shown_as_killed_not_as_running(folder):
    [trial] = folder.trials.glob("gsspo*")
    (trial / "result.json").unlink()
    replay(folder.root)
    shown = seen(folder)
    assert (shown["gsspo_seed3"]["status"], shown["demo"]["status"]) == ("KILLED", "KILLED")


def test_numbers_that_are_not_finite_and_thousands_of_them_get_through(folder):
    [trial] = folder.trials.glob("gsspo*")
    ticks = itertools.count(5)
    (trial / "result.json").unlink()
    (trial / METRICS).unlink()
    with Journal(trial, clock=lambda: next(ticks)) as journal:
        for step in range(30):
            journal.metrics(step, {f"m/{i}": float(i) for i in range(50)} | {"bad": math.nan, "big": math.inf})
    journal = Journal(trial)
    journal.finish(read_info(trial).key, {"eval/em": 1.0})
    replay(folder.root)
    metrics = seen(folder)["gsspo_seed3"]["metrics"]
    assert len(metrics["m/7"]) == 30
    assert math.isnan(metrics["bad"][0][2])
    assert metrics["big"][0][2] > 1e300


def test_the_door_replays_and_refuses_what_is_no_sweep(folder, tmp_path, capsys):
    assert main(["replay", str(folder.root)]) == 0
    assert "rebuilt in sqlite" in capsys.readouterr().out
    assert main(["replay", str(tmp_path)]) == 2
    assert "is not a sweep's folder" in capsys.readouterr().err


def test_configurations_are_kept_whole_and_constants_can_be_searched(folder):
    tracker = replay(folder.root)
    client = MlflowClient(tracker.uri)
    [trial] = folder.trials.glob("gsspo*")
    run = next(r for r in client.search_runs(["1"]) if r.info.run_name == "gsspo_seed3")
    kept = client.download_artifacts(run.info.run_id, "config.yaml")
    assert yaml.safe_load(Path(kept).read_text()) == yaml.safe_load((trial / "config.yaml").read_text())
    assert [r.info.run_name for r in client.search_runs(["1"], "tags.`c.reward.format_penalty` = '0.5'")] == ["demo"]
