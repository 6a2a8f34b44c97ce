"""What the driver says of stores and commands: lines that can be typed as they stand."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SERVED = REPOSITORY / "runs" / "mlflow.db"
"""The store of a bare `make ui`."""
PAGES = "http://127.0.0.1:5000"
"""Where `make ui` shows it."""
_FILE = "sqlite:///"
_DATABASES = ("sqlite:", "postgresql", "mysql", "mssql")


def where_mlflow_is(uri: str, address: str) -> str:
    """How to see the page `address` of the store `uri`: by the command that serves a database, or at its server."""
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
    """The interpreter of this process, as it is typed here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else "python"
