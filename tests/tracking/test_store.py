"""MLflow's database is whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from harness.tracking.store import connect

KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
left = [int(sys.argv[2])]

def before(*_):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", before)
from harness.tracking.store import connect
connect(f"sqlite:///{sys.argv[1]}")
"""


def test_a_kill_while_the_database_is_made_leaves_none(tmp_path):
    path = tmp_path / "mlflow.db"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), "150"], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    assert [e.name for e in connect(f"sqlite:///{path}").search_experiments()] == ["Default"]
