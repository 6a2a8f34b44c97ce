"""A tracking server at an http:// address is given what a database is given: runs, metrics, artifacts, traces."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from harness.tracking import replay
from tests.integration.tracking.test_replay import make
from tests.support.mlflow_pages import server


def files(client: MlflowClient, run: str, folder: str | None = None) -> set[str]:
    found = set()
    for artifact in client.list_artifacts(run, folder):
        found |= files(client, run, artifact.path) if artifact.is_dir else {artifact.path}
    return found


def seen(uri: str) -> dict:
    """What a reader of the store sees, without MLflow's own identifiers."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("demo").experiment_id
    traces = client.search_traces(locations=[experiment], max_results=500)
    told: dict = {
        "traces": Counter(
            (
                trace.info.trace_id,
                trace.info.request_preview,
                *sorted((k, v) for k, v in trace.info.tags.items() if not k.startswith("mlflow.")),
                *sorted((a.name, str(a.value)) for a in trace.info.assessments),
                *((span.name, span.span_type, str(span.inputs), str(span.outputs)) for span in trace.data.spans),
            )[1:]
            for trace in traces
        )
    }
    for run in client.search_runs([experiment]):
        own = {"mlflow.parentRunId"}
        told[run.info.run_name] = {
            "status": run.info.status,
            "params": run.data.params,
            "tags": {k: v for k, v in run.data.tags.items() if k not in own},
            "inputs": sorted(d.dataset.digest for d in run.inputs.dataset_inputs),
            "files": files(client, run.info.run_id),
            "metrics": {
                key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
                for key in run.data.metrics
            },
        }
    return told


@pytest.mark.timeout(300)
def test_a_server_receives_the_same_as_a_database(tmp_path: Path) -> None:
    folder = make(tmp_path, "learns", "gspo_fails")
    database = f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}"
    replay(folder.root, database)
    shown = seen(database)
    assert shown["traces"]
    assert {"config.yaml", "output.log"} <= shown["gsspo_seed3"]["files"]
    shutil.rmtree(tmp_path / "server", ignore_errors=True)
    (tmp_path / "server").mkdir()
    with server(f"sqlite:///{tmp_path / 'server' / 'mlflow.db'}", tmp_path / "server" / "log") as address:
        replay(folder.root, address)
        assert seen(address) == shown
        replay(folder.root, address)
        assert seen(address) == shown
