"""Commands printed as hints, ready to be copied into a shell."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SERVED = REPOSITORY / "runs" / "mlflow.db"
"""The store of a bare `make ui`."""
PAGES = "http://127.0.0.1:5000"
"""Address at which `make ui` serves it."""
_FILE = "sqlite:///"
_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


def where_mlflow_is(uri: str, address: str) -> str:
    """How to open the page `address` of the store `uri`: the command that serves a database, or the server's URL."""
    if uri.startswith(_DATABASES):
        return f"{serve(uri)}, then {PAGES}{address}"
    return f"{uri.rstrip('/')}{address}"


def serve(uri: str) -> str:
    """The `make ui` that serves the database `uri`, for the present working directory."""
    here = Path.cwd() == REPOSITORY
    make = ["make"] if here else ["make", "-C", str(REPOSITORY)]
    if uri.startswith(_FILE):
        path = Path(uri.removeprefix(_FILE)).resolve()
        if path == SERVED:
            return shlex.join([*make, "ui"])
        uri = _FILE + str(path.relative_to(REPOSITORY) if here and path.is_relative_to(REPOSITORY) else path)
    return shlex.join([*make, "ui", f"STORE={uri}"])


def python() -> str:
    """The interpreter of this process, relative to the working directory."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else "python"
