"""One store, several writers: a sweep's folder knows its own runs, and touches no others."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.runs.sweep_folder import SweepFolder
from harness.tracking import replay
from tests.integration.tracking.test_replay import make


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory) -> Path:
    """A migrated database without runs, to copy: a migration takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path) -> str:
    return f"sqlite:///{shutil.copy(empty_store, tmp_path / 'mlflow.db')}"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[SweepFolder, SweepFolder]:
    """The same sweep run in two folders."""
    home = tmp_path_factory.mktemp("made")
    for name in ("one", "other"):
        (home / name).mkdir()
    return make(home / "one", "learns", "learns"), make(home / "other", "learns", "learns")


@pytest.fixture
def folders(made, tmp_path) -> list[SweepFolder]:
    return [SweepFolder(shutil.copytree(f.root, tmp_path / f.root.parts[-3] / "runs" / "demo")) for f in made]


def runs(store: str) -> dict[str, dict]:
    """What the store holds of every run, by its id."""
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("demo").experiment_id
    traces = client.search_traces(locations=[experiment], max_results=500)
    return {
        run.info.run_id: {
            **{"name": run.info.run_name, "status": run.info.status, "tags": run.data.tags},
            **{"params": run.data.params, "metrics": run.data.metrics},
            "traces": sorted(t.info.trace_id for t in traces if t.info.trace_metadata["mlflow.sourceRun"] == run_id),
        }
        for run in client.search_runs([experiment])
        for run_id in [run.info.run_id]
    }


def test_two_folders_of_one_sweep_file_keep_their_runs_in_one_store(folders, store):
    one, other = folders
    replay(one.root, store)
    first = runs(store)
    names = ["demo", "gspo_seed3", "gsspo_seed3"]
    assert sorted(run["name"] for run in first.values()) == names
    replay(other.root, store)
    both = runs(store)
    assert {run: both[run] for run in first} == first
    assert sorted(told["name"] for run, told in both.items() if run not in first) == names
    assert {run["status"] for run in both.values()} == {"FINISHED"}
    assert all(run["traces"] for run in both.values() if run["name"] != "demo")
    for again in (one, other):
        replay(again.root, store)
        assert runs(store) == both


def test_a_run_put_under_the_sweep_by_hand_stays(folders, store):
    one, _ = folders
    replay(one.root, store)
    client, parent = MlflowClient(store), parent_of(store, one)
    experiment = client.get_run(parent).info.experiment_id
    theirs = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    replay(one.root, store)
    assert runs(store)[theirs]["status"] == "RUNNING"


@pytest.mark.parametrize("later_ms", [-1000, 1000])
def test_of_two_runs_of_one_sweep_the_one_with_its_trials_stays(folders, store, later_ms):
    one, other = folders
    replay(other.root, store)
    replay(one.root, store)
    before = runs(store)
    client, parent = MlflowClient(store), parent_of(store, one)
    made = client.get_run(parent).info
    client.create_run(made.experiment_id, start_time=made.start_time + later_ms, tags=before[parent]["tags"])
    assert len(runs(store)) == len(before) + 1  # as a server leaves it whose answer never came
    replay(one.root, store)
    assert runs(store) == before


def test_of_two_runs_of_one_sweep_without_trials_the_older_stays(folders, store):
    one, _ = folders
    shutil.rmtree(one.trials)
    one.trials.mkdir()
    replay(one.root, store)
    client, parent = MlflowClient(store), parent_of(store, one)
    made = client.get_run(parent).info
    client.create_run(made.experiment_id, start_time=made.start_time + 1000, tags=runs(store)[parent]["tags"])
    replay(one.root, store)
    assert list(runs(store)) == [parent]


@pytest.mark.parametrize("when", ["while it ran", "after it"])
def test_a_deleted_run_of_a_sweep_is_created_again_over_its_trials(folders, store, when):
    one, _ = folders
    tracker = replay(one.root, store)
    before, parent = runs(store), parent_of(store, one)
    MlflowClient(store).delete_run(parent)
    if when == "while it ran":
        tracker.finish("FINISHED")
    else:
        tracker = replay(one.root, store)
    after, again = runs(store), parent_of(store, one)
    assert again != parent
    assert after[again]["status"] == "FINISHED"
    assert set(after) - {again} == set(before) - {parent}
    assert {told["tags"].get("mlflow.parentRunId") for run, told in after.items() if run != again} == {again}
    assert tracker.address.endswith(again[:12])


def parent_of(store: str, folder: SweepFolder) -> str:
    own = {run: told for run, told in runs(store).items() if told["tags"]["sweep_id"] == folder.identity()}
    [parent] = [run for run, told in own.items() if "sweep_key" in told["tags"]]
    return parent


def test_a_folder_has_one_identity_however_many_ask_at_once(folders):
    folder, other = folders
    gate, told = threading.Barrier(8), []

    def ask() -> None:
        gate.wait()
        told.append(folder.identity())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 8
    assert set(told) == {folder.identity()} != {other.identity()}
    assert not list(folder.root.glob(".sweep.id*"))
