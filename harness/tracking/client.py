"""MLflow client: connection, batched metrics, paged searches, complete deletion of runs."""

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
from harness.tracking.registry import unregister_policies

PARENT = "mlflow.parentRunId"
BATCH = 1000  # metrics a request, MLflow's limit
TAGS_A_BATCH = 100
TAG_CHARS, PARAM_CHARS = 8000, 6000
TRACES_A_DELETION = 100
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""MLflow's error codes for a run that was deleted, among other causes."""


def default_uri(out: Path) -> str:
    """The store that MLflow's own environment variable names, else a database beside the sweeps' folders."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(out / 'mlflow.db').resolve()}"


def connect(uri: str) -> Any:
    """A client with short timeouts and without telemetry; creates a local database that does not exist yet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # callers retry themselves and search before they create: MLflow's own retries would create a second run
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow"):  # errors are raised too, and reported in one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        _create_database(Path(uri.removeprefix("sqlite:///")))
    return MlflowClient(uri)


def _create_database(path: Path) -> None:
    """Create a database with its tables under a temporary name and rename it; nothing if it exists.

    MLflow's migrations are dozens of transactions: a kill between two of them would leave an unusable database.
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
    """All runs that match, over all pages of results."""
    found, token = [], None
    while True:
        page = client.search_runs([experiment], query, max_results=500, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def may_be_gone(error: Exception) -> bool:
    """Whether an error of MLflow may mean that the run no longer exists."""
    return getattr(error, "error_code", None) in _GONE


def delete_run(client: Any, experiment: str, run: str) -> None:
    """Delete a run (recoverably), its traces and the models it registered."""
    unregister_policies(client, run)
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
    """Write (step, values, time in ms) lines, and tags with them. Idempotent."""
    from mlflow.entities import Metric, RunTag

    metrics = [Metric(name, value, ts, step) for step, values, ts in lines for name, value in values.items()]
    beside = [RunTag(name, value) for name, value in (tags or {}).items()]
    for i in range(0, len(metrics), BATCH):
        client.log_batch(run, metrics=metrics[i : i + BATCH], tags=beside)


@functools.cache
def code_tags() -> dict[str, str]:
    """Git commit of the sources and whether they differ from it; empty outside a checkout."""
    root = checkout()
    if root is None:  # the repository around an installed copy, if any, is another one
        return {}
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": head.stdout.strip(), "git_dirty": str(bool(dirty.stdout.strip())).lower()}


def as_text(value: Any) -> str:
    """A string unchanged, any other value as canonical JSON."""
    return value if isinstance(value, str) else canonical_json(value)
