"""A trial's process imports nothing heavy that it does not use: it starts in seconds, many times a sweep."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys
import harness.training.train
print([name for name in ("transformers", "torch.distributed.tensor", "pandas") if name in sys.modules])
from harness.policy.tiny import new_model
new_model(100, hidden=8, layers=1, heads=2)
print([name for name in ("sklearn", "pandas") if name in sys.modules])
import sklearn.metrics
print(sklearn.metrics.roc_curve.__name__)
"""


def test_training_starts_without_sharding_and_scikit_learn_which_stays_importable() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["[]", "[]", "roc_curve"], done.stdout + done.stderr
