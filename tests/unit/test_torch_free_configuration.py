"""Configuration loads and checks a sweep without torch: doors answer `--help` and mistakes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_sweep_is_loaded_and_checked_without_torch() -> None:
    code = (
        "import sys; from harness.config import load_sweep; load_sweep('ablations/granularity.yaml');"
        "print([name for name in ('torch', 'transformers', 'ray', 'mlflow', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stdout + done.stderr
