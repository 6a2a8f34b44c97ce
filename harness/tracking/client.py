"""The connection to MLflow, and the few things that are asked of it in several places."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.config import canonical_json
from harness.paths import checkout
from harness.tracking.registry import forget

PARENT = "mlflow.parentRunId"
BATCH = 1000  # metrics a request, MLflow's limit
TAGS_A_BATCH = 100
TAG_CHARS, PARAM_CHARS = 8000, 6000
TRACES_A_DELETION = 100
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""What MLflow answers for a run that was deleted, among other things."""


def default_uri(out: Path) -> str:
    """Where nothing else is said: the store that MLflow's own variable names, else one beside the sweeps' folders."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(out / 'mlflow.db').resolve()}"


def connect(uri: str) -> Any:
    """A client that gives up on a dead server in seconds and tells nobody about itself."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # whoever asks comes again, and looks first what there is: MLflow would ask a slow server for a second run
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):  # what fails raises too, and is told in one line, not in tracebacks
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        _make_whole(Path(uri.removeprefix("sqlite:///")))
    return MlflowClient(uri)


def _make_whole(path: Path) -> None:
    """Make a database with its tables, if there is none, under a name of its own and then give it its name.

    MLflow's migrations are dozens of transactions: a kill between two of them leaves what no later start can open.
    """
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        engine = create_sqlalchemy_engine(f"sqlite:///{temporary}")
        _initialize_tables(engine)
        engine.dispose()
        with contextlib.suppress(FileExistsError):  # another process was first
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def search_runs(client: Any, experiment: str, query: str) -> list[Any]:
    """Every run that fits, however many pages they take."""
    found, token = [], None
    while True:
        page = client.search_runs([experiment], query, max_results=500, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def may_be_gone(error: Exception) -> bool:
    """Whether MLflow refused something because the run it was for is no longer there, or for a reason like that."""
    return getattr(error, "error_code", None) in _GONE


def delete_run(client: Any, experiment: str, run: str) -> None:
    """Delete a run (recoverably), and what would be left without it: its traces, the models it registered."""
    forget(client, run)
    while True:
        page = client.search_traces(
            locations=[experiment],
            filter_string=f"metadata.`mlflow.sourceRun` = '{run}'",
            max_results=TRACES_A_DELETION,
            include_spans=False,
        )
        if not page:
            break
        client.delete_traces(experiment, trace_ids=[trace.info.trace_id for trace in page])
    client.delete_run(run)


def log_metrics(
    client: Any, run: str, lines: Sequence[tuple[int, dict[str, float], int]], tags: Mapping[str, str] | None = None
) -> None:
    """Write (step, values, time in ms) lines, and tags beside them. Sending the same again changes nothing."""
    from mlflow.entities import Metric, RunTag

    metrics = [Metric(name, value, ts, step) for step, values, ts in lines for name, value in values.items()]
    beside = [RunTag(name, value) for name, value in (tags or {}).items()]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[i : i + BATCH], tags=beside)


@functools.cache
def code_tags() -> dict[str, str]:
    """Where the sources stand; empty outside a git checkout."""
    root = checkout()
    if root is None:  # the repository around an installed copy, if any, is another one
        return {}
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": head.stdout.strip(), "git_dirty": str(bool(dirty.stdout.strip())).lower()}


def text(value: Any) -> str:
    return value if isinstance(value, str) else canonical_json(value)
