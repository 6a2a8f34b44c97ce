"""Commands that serve an MLflow store, for the present working directory."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.paths import checkout, python

PAGES = "http://127.0.0.1:5000"
"""Address at which the commands serve it."""
_FILE = "sqlite:///"
_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


def where_mlflow_is(uri: str, address: str) -> str:
    """How to open the page `address` of the store `uri`: the command that serves a database, or the server's URL."""
    if uri.startswith(_DATABASES):
        return f"{serve(uri)}, then {PAGES}{address}"
    return f"{uri.rstrip('/')}{address}"


def serve(uri: str) -> str:
    """The command that serves the database `uri`: of the checkout's Makefile, without a checkout MLflow's own."""
    root = checkout()
    if uri.startswith(_FILE):
        path = Path(uri.removeprefix(_FILE)).resolve()
        if root and path == root / "runs" / "mlflow.db":  # the store of a bare `make ui`
            return shlex.join(_make(root))
        here = Path.cwd() if root is None or Path.cwd() == root else None
        uri = _FILE + str(path.relative_to(here) if here and path.is_relative_to(here) else path)
    if root is None:
        server = f"MLFLOW_DISABLE_TELEMETRY=true {python()} -m mlflow server --workers 1"
        return f"{server} --backend-store-uri {shlex.quote(uri)}"
    return shlex.join([*_make(root), f"STORE={uri}"])


def _make(root: Path) -> list[str]:
    return ["make", "ui"] if Path.cwd() == root else ["make", "-C", str(root), "ui"]
