"""Runs left incomplete by a failing store or a killed process are completed by the next writer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.tracking import Tracker, replay
from harness.tracking.__main__ import main
from tests.integration.tracking.test_replay import make


@pytest.fixture
def folder(tmp_path) -> SweepFolder:
    return make(tmp_path, "learns", "learns")


@pytest.mark.parametrize("failing", ["log_inputs", "log_artifact", "log_batch"])
def test_a_store_that_fails_while_runs_are_made_has_each_once_and_whole_in_the_end(folder, monkeypatch, failing):
    uri = f"sqlite:///{folder.root.parent / 'mlflow.db'}"
    trial = sorted(folder.trials.iterdir())[0]
    client = MlflowClient(uri)

    def fails(*arguments: object, **named: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as during:
        during.setattr(MlflowClient, failing, fails)
        with pytest.raises(ConnectionError):  # for the sweep's run, but at `log_inputs`, which it has none of
            Tracker(folder, uri, "demo").sync(TrialRun(trial))
    tracker = Tracker(folder, uri, "demo")
    with monkeypatch.context() as during:
        during.setattr(MlflowClient, failing, fails)
        with pytest.raises(ConnectionError):
            tracker.sync(TrialRun(trial))
    for writer in (Tracker(folder, uri, "demo"), tracker):  # the next driver, or this one at its next pass
        writer.sync(TrialRun(trial))
    experiment = client.get_experiment_by_name("demo").experiment_id
    [run] = client.search_runs([experiment], f"tags.trial_key = '{TrialRun(trial).info().key}'")
    info = TrialRun(trial).info()
    swept = {info.labels[n]: str(v) for n, v in info.axes.items()} | {"seed": str(info.seed)}
    assert swept.items() <= run.data.params.items()
    assert run.data.params["learning_rate"] == str(info.settings["update"]["learning_rate"])
    assert run.inputs.dataset_inputs
    assert "config.yaml" in {a.path for a in client.list_artifacts(run.info.run_id)}
    [sweep] = client.search_runs([experiment], "tags.sweep_key LIKE '%'")
    assert "sweep.yaml" in {a.path for a in client.list_artifacts(sweep.info.run_id)}
    assert sum(name.startswith("c.") for name in sweep.data.tags) > 50  # constants: more tags than go into a request


def test_output_that_a_killed_process_left_uncleaned_is_cleaned_for_mlflow(folder, monkeypatch):
    monkeypatch.setenv("PLANTED_API_KEY", "sk-planted-5f1e0c77")
    [trial] = folder.trials.glob("gsspo*")
    with (trial / "output.log").open("a") as file:
        file.write("asked with sk-planted-5f1e0c77\n")
    client = MlflowClient(replay(folder.root).uri)
    run = next(r for r in client.search_runs(["1"]) if r.info.run_name == "gsspo_seed3")
    text = Path(client.download_artifacts(run.info.run_id, "output.log")).read_text()
    assert "asked with [secret]\n" in text


def test_a_store_that_is_down_is_reported_in_one_line_without_a_password(folder, monkeypatch, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://me:hunter2-planted@127.0.0.1:{closed.getsockname()[1]}"
    assert main(["replay", str(folder.root), "--uri", uri]) == 1
    told = capsys.readouterr().err
    assert told.startswith("MLflow cannot be written (")
    assert told.count("\n") == 1
    assert "hunter2" not in told


@pytest.mark.parametrize("content", ["name: demo\n", "a: [", "[]"])
def test_the_door_refuses_a_folder_whose_sweep_file_is_none(tmp_path, capsys, content):
    (tmp_path / "sweep.yaml").write_text(content)
    assert main(["replay", str(tmp_path)]) == 2
    assert "is not a sweep's folder" in capsys.readouterr().err
