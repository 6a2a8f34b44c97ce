"""MLflow as a view: written from journals any number of times, it shows every record once."""

from __future__ import annotations

import base64
import getpass
import itertools
import json
import math
import shutil
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.tracking import MlflowClient

from harness.config import code_version, expand, load_sweep
from harness.runs.episode_store import episode_path, write_episodes
from harness.runs.journal import Journal
from harness.runs.layout import METRICS, POLICIES
from harness.runs.lock import exclusive_lock
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.worker import run_one
from harness.tracking import Tracker, default_uri, replay, tracker
from harness.tracking.__main__ import main
from harness.types import StopReason
from tests.support.cheap_trials import episode
from tests.support.examples import examples
from tests.support.replayable_sweep import SWEEP, make, seen


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SweepFolder:
    return make(tmp_path_factory.mktemp("made"), "learns", "gspo_fails")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A migrated database without runs, to copy: a migration takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def folder(made, empty_store, tmp_path) -> SweepFolder:
    shutil.copytree(made.root, tmp_path / "runs" / "demo")
    (tmp_path / "demo.yaml").write_text(SWEEP)
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")
    return SweepFolder(tmp_path / "runs" / "demo")


def test_a_replay_shows_what_the_journals_hold(folder):
    replay(folder.root)
    shown = seen(folder)
    assert {name: run["status"] for name, run in shown.items()} == {
        "demo": "FAILED", "gsspo_seed3": "FINISHED", "gspo_seed3": "FAILED",
    }  # fmt: skip
    [trial] = folder.trials.glob("gsspo*")
    rows = TrialRun(trial).metrics()
    metrics = shown["gsspo_seed3"]["metrics"]
    for name in rows[0][1]:
        assert metrics[name] == [(step, ts, values[name]) for step, values, ts in rows]
    assert metrics["final/em"][0][2] == rows[-1][1]["eval/em"]
    assert shown["gsspo_seed3"]["times"][0] <= rows[0][2]


def test_a_replay_shows_the_episodes_of_every_step_as_traces(folder):
    replay(folder.root)
    shown = seen(folder)["gsspo_seed3"]["traces"]
    [trial] = folder.trials.glob("gsspo*")
    assert len(shown) == 3  # one suite, one evaluation a step
    assert [mark[0] for mark in shown] == [ts for *_, ts in TrialRun(trial).metrics()]
    assert {dict(mark[1:10])["failures"] for mark in shown} == {"turn_budget"}
    assert all({"em", "format", "gold", "agent", "generate", "parse"} <= set(mark[10:]) for mark in shown)


def test_faulted_evaluations_are_traced_too_and_a_broken_file_is_passed_over(folder):
    [trial] = folder.trials.glob("gsspo*")
    write_episodes(trial / "episodes", 0, "eval_faulted", [episode("world_single", 3)])
    episode_path(trial / "episodes", 1, "eval").write_bytes(b"PAR1 broken")
    replay(folder.root)
    steps = [dict(mark[1:10])["step"] for mark in seen(folder)["gsspo_seed3"]["traces"]]
    assert steps == ["0", "0", "2"]


def test_a_resumed_tracker_chooses_the_same_traces_as_one_that_never_stopped(folder):
    [trial] = folder.trials.glob("gsspo*")
    one = episode("world_single", 0)
    stops = [StopReason.TURN_BUDGET, StopReason.TOKEN_BUDGET, StopReason.TURN_BUDGET]
    played = [replace(one, stop=s, question=replace(one.question, id=f"q{n}")) for n, s in enumerate(stops)]
    for step in (0, 1, 2):
        write_episodes(trial / "episodes", step, "train", played)
    other = SweepFolder(folder.root.parents[1] / "other" / "demo")
    shutil.copytree(folder.root.parent, other.root.parent)
    replay(folder.root)
    whole = seen(folder)["gsspo_seed3"]["traces"]
    shown = Counter(dict(mark[1:10])["split"] for mark in whole)
    assert shown == {"eval": 1 + 2, "train": 1 + 1}  # two kinds once, and of every step another
    [trial] = other.trials.glob("gsspo*")
    journal = (trial / METRICS).read_text().splitlines(keepends=True)
    for length in (1, 2, 3):
        (trial / METRICS).write_text("".join(journal[:length]))
        replay(other.root)  # a new tracker each time
    assert seen(other)["gsspo_seed3"]["traces"] == whole


def test_a_finished_trial_s_traces_are_sent_once(folder, monkeypatch):
    sent = []
    monkeypatch.setattr(tracker, "send_traces", lambda uri, experiment, made: sent.append(len(made)))
    replay(folder.root)
    once = list(sent)
    replay(folder.root)
    assert max(once) == 3
    assert sent == once


def test_a_picture_that_cannot_be_drawn_is_tagged_and_prevents_nothing_else(folder):
    def broken(trial: TrialRun, out: Path) -> None:
        (out / "half.txt").write_text("drawn before")
        raise RuntimeError("no font")

    replay(folder.root, None, broken)
    run = seen(folder)["gsspo_seed3"]
    assert (run["status"], run["tags"]["view_error"]) == ("FINISHED", "RuntimeError: no font")
    assert "view" in run["artifacts"]


def test_the_number_of_traces_is_a_setting(folder):
    manifest = yaml.safe_load(folder.manifest.read_text())
    manifest["tracking"]["traces_per_step"] = 0
    folder.manifest.write_text(yaml.safe_dump(manifest))
    replay(folder.root)
    assert seen(folder)["gsspo_seed3"]["traces"] == []


def test_trained_policies_are_registered_once_on_request(folder):
    [trial] = folder.trials.glob("gsspo*")
    for step in (1, 2):
        (trial / POLICIES / f"step-{step:06d}").mkdir(parents=True)
        (trial / POLICIES / f"step-{step:06d}" / "config.json").write_text(f'{{"step": {step}}}')
    client = MlflowClient(replay(folder.root).uri)
    assert client.search_registered_models() == []
    manifest = yaml.safe_load(folder.manifest.read_text())
    manifest["tracking"]["register_policies"] = True
    folder.manifest.write_text(yaml.safe_dump(manifest))
    for _ in range(2):
        replay(folder.root)
        [version] = client.search_model_versions("name = 'demo-gsspo'")
    assert client.get_run(version.run_id).info.run_name == "gsspo_seed3"
    assert version.tags == {"seed": "3", "step": "2", "final_em": version.tags["final_em"]}
    kept = client.download_artifacts(version.run_id, "policy/config.json")
    assert Path(kept).read_text() == '{"step": 2}'
    assert version.source.endswith("/policy")
    Journal(trial).fail(TrialRun(trial).info().key, "an error")  # so that it is restarted
    run_one(TrialRun(trial), "tests.support.cheap_trials:learns")
    replay(folder.root)
    [again] = client.search_model_versions("name = 'demo-gsspo'")  # the old run's version went with it
    assert again.run_id != version.run_id


def test_the_pages_open_on_the_trials_with_their_axes(folder):
    tracker = replay(folder.root)
    client = MlflowClient(tracker.uri)
    key = tracker.address.rpartition("=")[2]
    kept = client.get_experiment_by_name("demo").tags[f"mlflow.sharedViewState.{key}"]
    state = json.loads(zlib.decompress(base64.b64decode(kept.removeprefix("deflate;"))))
    assert state["selectedColumns"][:3] == ["params.`preset`", "params.`seed`", "metrics.`final/em`"]
    found = {r.info.run_name for r in client.search_runs(["1"], state["searchFilter"])}
    assert found == {"gsspo_seed3", "gspo_seed3"}
    metrics = set(seen(folder)["gsspo_seed3"]["metrics"])
    charts = [chart["metricKey"] for chart in state["compareRunCharts"]]
    assert {"eval/em", "final/em", "eval/em/world_single"} <= set(charts) & metrics


def test_a_sweep_of_an_older_version_can_still_be_replayed(folder):
    for path in folder.trials.glob("*/trial.json"):
        info = json.loads(path.read_text())
        info["config"] |= {"a_setting_since_removed": 1}
        del info["preregistration"]
        path.write_text(json.dumps(info))
    replay(folder.root)
    assert set(seen(folder)) == {"demo", "gsspo_seed3", "gspo_seed3"}


def test_each_run_has_its_preregistration_and_its_data(folder):
    replay(folder.root)
    shown = seen(folder)
    promise = yaml.safe_load(folder.manifest.read_text())["preregistration"]
    for name in ("demo", "gsspo_seed3"):
        tags = shown[name]["tags"]
        assert (tags["preregistration"], tags["hypothesis"]) == (promise, "h")
        assert len(tags["mlflow.source.git.commit"]) == 40
    assert {"preset": "gsspo", "seed": "3"}.items() <= shown["gsspo_seed3"]["params"].items()
    assert len(shown["gsspo_seed3"]["inputs"]) == 2
    assert {"best/em", "best/step", "final/em/world_single"} <= set(shown["gsspo_seed3"]["metrics"])
    assert "**Hypothesis.** h" in shown["demo"]["tags"]["mlflow.note.content"]
    [trial] = folder.trials.glob("gsspo*")
    assert TrialRun(trial).info().preregistration == promise


def test_a_trial_keeps_the_promise_it_began_under(folder):
    spec = load_sweep(folder.root.parents[1] / "demo.yaml")
    [trial] = folder.trials.glob("gsspo*")
    promise = TrialRun(trial).info().preregistration
    TrialRun(trial).prepare(expand(spec)[0], code_version(), spec.labels, "another")
    assert TrialRun(trial).info().preregistration == promise
    shutil.rmtree(trial)
    TrialRun(trial).prepare(expand(spec)[0], code_version(), spec.labels, "another")
    assert TrialRun(trial).info().preregistration == "another"


def test_replaying_twice_changes_nothing(folder):
    replay(folder.root)
    once = seen(folder)
    replay(folder.root)
    assert seen(folder) == once


@settings(max_examples=examples(5), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 3000), max_size=3).map(sorted))
def test_following_a_growing_journal_ends_where_a_replay_ends(made, empty_store, tmp_path_factory, cuts):
    homes = [tmp_path_factory.mktemp("h") / "runs" for _ in range(2)]
    for home in homes:
        shutil.copytree(made.root, home / "demo")
        shutil.copy(empty_store, home / "mlflow.db")
    whole, grown = (SweepFolder(home / "demo") for home in homes)
    replay(whole.root)
    [trial] = grown.trials.glob("gsspo*")
    raw, result = (trial / METRICS).read_bytes(), (trial / "result.json").read_bytes()
    (trial / "result.json").unlink()
    tracker = Tracker(grown, f"sqlite:///{grown.root.parent / 'mlflow.db'}", "demo")
    for (
        cut
    ) in cuts:  # a kill of the writer between any two of these loses nothing: a new one starts from the first line
        (trial / METRICS).write_bytes(raw[:cut])
        tracker.sync(TrialRun(trial))
        if cut % 2:
            tracker = Tracker(grown, f"sqlite:///{grown.root.parent / 'mlflow.db'}", "demo")
    (trial / METRICS).write_bytes(raw)
    (trial / "result.json").write_bytes(result)
    replay(grown.root)
    assert seen(grown) == seen(whole)


def test_a_trial_that_was_started_again_has_one_run_and_one_curve(folder):
    replay(folder.root)
    [trial] = folder.trials.glob("gspo*")
    run_one(TrialRun(trial), "tests.support.cheap_trials:learns")
    replay(folder.root)
    shown = seen(folder)
    assert shown["gspo_seed3"]["status"] == "FINISHED"
    assert [step for step, *_ in shown["gspo_seed3"]["metrics"]["eval/em"]] == [0, 1, 2]
    assert "error" not in shown["gspo_seed3"]["tags"]
    assert shown["demo"]["status"] == "FINISHED"


def test_a_resumed_trial_keeps_its_run_and_its_points(folder):
    [trial] = folder.trials.glob("gsspo*")
    (trial / "result.json").unlink()  # as a kill leaves it: all lines are written, the trial has not ended
    replay(folder.root)
    once, ids = seen(folder), run_ids(folder)
    assert once["gsspo_seed3"]["status"] == "KILLED"
    run_one(TrialRun(trial), "tests.support.cheap_trials:learns")
    replay(folder.root)
    again = seen(folder)
    assert run_ids(folder) == ids
    for name, history in once["gsspo_seed3"]["metrics"].items():
        if not name.startswith("system/"):  # these go on
            assert again["gsspo_seed3"]["metrics"][name] == history
    assert again["gsspo_seed3"]["status"] == "FINISHED"
    assert len(again["gsspo_seed3"]["traces"]) == len(once["gsspo_seed3"]["traces"])


def run_ids(folder: SweepFolder) -> set[str]:
    client = MlflowClient(f"sqlite:///{folder.root.parent / 'mlflow.db'}")
    return {run.info.run_id for run in client.search_runs(["1"])}


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
    journal.finish(TrialRun(trial).info().key, {"eval/em": 1.0})
    replay(folder.root)
    metrics = seen(folder)["gsspo_seed3"]["metrics"]
    assert len(metrics["m/7"]) == 30
    assert math.isnan(metrics["bad"][0][2])
    assert metrics["big"][0][2] > 1e300


def test_mlflows_own_variable_names_the_store_where_the_sweep_names_none(folder, tmp_path, monkeypatch):
    store = f"sqlite:///{shutil.copy(folder.root.parent / 'mlflow.db', tmp_path / 'theirs.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert replay(folder.root).uri == store
    assert MlflowClient(store).get_experiment_by_name("demo") is not None
    manifest = yaml.safe_load(folder.manifest.read_text())
    assert manifest["tracking"]["uri"] is None  # so that no password of the variable's is kept
    manifest["tracking"]["uri"] = f"sqlite:///{folder.root.parent / 'mlflow.db'}"
    folder.manifest.write_text(yaml.safe_dump(manifest))
    assert replay(folder.root).uri == manifest["tracking"]["uri"]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert default_uri(tmp_path) == f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_runs_name_their_user(folder, monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "somebody")
    replay(folder.root)
    assert {run["tags"]["mlflow.user"] for run in seen(folder).values()} == {"somebody"}


def test_a_user_without_a_name_is_no_hindrance(folder, monkeypatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", nameless)
    replay(folder.root)
    assert set(seen(folder)) == {"demo", "gsspo_seed3", "gspo_seed3"}


def test_the_door_replays_and_refuses_what_is_no_sweep(folder, tmp_path, capsys):
    assert main(["replay", str(folder.root)]) == 0
    assert "rebuilt in sqlite" in capsys.readouterr().out
    assert main(["replay", str(tmp_path)]) == 2
    assert "is not a sweep's folder" in capsys.readouterr().err


def test_the_door_hangs_the_sweeps_report_on_its_run(folder):
    for _ in range(2):
        assert main(["replay", str(folder.root)]) == 0
    client = MlflowClient(f"sqlite:///{folder.root.parent / 'mlflow.db'}")
    [parent] = client.search_runs(["1"], "tags.sweep_key LIKE '%'")
    files = {Path(artifact.path).name for artifact in client.list_artifacts(parent.info.run_id, "report")}
    assert {"summary.csv", "learning_curves.svg", "learning_curves.csv"} <= files
    assert parent.info.status == "FAILED"


def test_the_door_leaves_a_sweep_alone_that_is_running(folder, capsys):
    store = folder.root.parent / "mlflow.db"
    before = store.read_bytes()
    with exclusive_lock(folder.root):
        assert main(["replay", str(folder.root)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert str(folder.root) in printed
    assert store.read_bytes() == before


def test_configurations_are_kept_whole_and_constants_can_be_searched(folder):
    tracker = replay(folder.root)
    client = MlflowClient(tracker.uri)
    [trial] = folder.trials.glob("gsspo*")
    run = next(r for r in client.search_runs(["1"]) if r.info.run_name == "gsspo_seed3")
    kept = client.download_artifacts(run.info.run_id, "config.yaml")
    assert yaml.safe_load(Path(kept).read_text()) == yaml.safe_load((trial / "config.yaml").read_text())
    [sweep] = client.search_runs(["1"], "tags.`c.reward.format_penalty` = '0.5'")
    assert sweep.info.run_name == "demo"
    constant = {name.removeprefix("c.") for name in sweep.data.tags if name.startswith("c.objective.")}
    assert "objective.reduction" in constant
    assert constant & {"objective.preset", "objective.ratio_unit"} == set()  # the preset settles the unit
