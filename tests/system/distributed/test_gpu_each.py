"""Ray Train gives each worker of a trial a GPU that no other sees: vLLM in its process takes the first it sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.distributed.gpu_each import HERE, NOTED
from tests.system.distributed.test_killed_workers import trial_folder

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_each_worker_sees_its_own_gpu_alone(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "CUDA_VISIBLE_DEVICES")}
    command = [sys.executable, "-m", HERE, str(trial_folder(tmp_path / "home"))]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | {NOTED: str(tmp_path)}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((tmp_path / str(rank)).read_text() for rank in range(2)) == ["0 cuda:0", "1 cuda:0"]
