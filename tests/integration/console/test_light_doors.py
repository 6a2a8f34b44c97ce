"""Doors answer `--help`, a mistake and a refusal at once: nothing heavy is imported before."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.__main__ import VERBS

ROOT = Path(__file__).parents[3]
HEAVY = {"torch", "transformers", "pandas", "scipy", "matplotlib", "mlflow", "ray", "httpx", "peft", "starlette"}


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_help_shows_an_example_and_loads_nothing_heavy(verb, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from harness.__main__ import main\n"
        f"try: main(['{verb}', '--help'])\nfinally: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    text, _, modules = done.stdout.strip().rpartition("\n")
    assert done.returncode == 0, done.stderr
    assert re.search("\n *python -m ", text)
    assert not HEAVY & set(modules.split())
    assert not list(tmp_path.iterdir())


def test_a_sweep_is_loaded_and_checked_without_torch() -> None:
    code = (
        "import sys; from harness.config import load_sweep; load_sweep('ablations/granularity.yaml');"
        "print([name for name in ('torch', 'transformers', 'ray', 'mlflow', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_a_refusal_comes_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; from harness.evaluation.evaluate_command import main\n"
        "status = main(['tiny', 'method=one_shot', 'plan=written', 'steps=3'])\n"
        "print(status, [n for n in ('torch', 'transformers', 'mlflow', 'scipy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "2 []\n"
    assert "cannot write a plan" in done.stderr
    assert "2 problems" in done.stderr
