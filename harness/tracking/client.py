"""MLflow client: connection, batched metrics, paged searches, complete deletion of runs."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from harness.config import canonical_json
from harness.paths import checkout
from harness.tracking.registry import unregister_policies

PARENT = "mlflow.parentRunId"
BATCH = 1000  # metrics a request, MLflow's limit
TAGS_A_BATCH = PARAMS_A_BATCH = 100
TAG_CHARS, PARAM_CHARS = 8000, 6000
TRACES_A_DELETION = 100
_GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "INVALID_STATE")
"""MLflow's error codes for a run that was deleted, among other causes."""


def default_uri(out: Path) -> str:
    """The store that MLflow's own environment variable names, else the one beside the sweeps' folders."""
    return os.environ.get("MLFLOW_TRACKING_URI") or beside(out)


def beside(out: Path) -> str:
    """The database in the folder of sweeps."""
    return f"sqlite:///{(out / 'mlflow.db').resolve()}"


def foreign_place(uri: str, home: Path, experiment: str) -> str | None:
    """How the database in `home`, perhaps another person's, leads to a place outside of it; None if it does not.

    A store that is not in `home` was named by the user, and may keep its artifacts anywhere. MLflow's own experiment
    `Default`, which lies where the database was created from, counts as `experiment` only.
    """
    path = home.resolve() / "mlflow.db"
    if uri != beside(home) or not os.path.lexists(path):
        return None
    if path.is_symlink():
        return f"{path} is a symbolic link"
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
        try:
            query = """SELECT artifact_location FROM experiments WHERE name <> 'Default' OR name = ?
                       UNION SELECT artifact_uri FROM runs"""
            places = [str(place) for (place,) in database.execute(query, (experiment,)) if place]
        except sqlite3.Error as error:
            return f"{path}: {error}"
    for place in places:
        parts = urlsplit(place)
        local = Path(unquote(parts.path)).resolve() if parts.scheme in ("", "file") else None
        if local is None or not local.is_relative_to(home.resolve()):
            return f"{path} keeps artifacts in {place}, outside of its folder"
    return None


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


def log_params_and_tags(
    client: Any, run: str, params: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]
) -> None:
    """Write them in requests of the size that MLflow takes, the tags last. Idempotent."""
    from mlflow.entities import Param, RunTag

    for i in range(0, len(params), PARAMS_A_BATCH):
        client.log_batch(run, params=[Param(*param) for param in params[i : i + PARAMS_A_BATCH]])
    for i in range(0, len(tags), TAGS_A_BATCH):
        client.log_batch(run, tags=[RunTag(*tag) for tag in tags[i : i + TAGS_A_BATCH]])


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
