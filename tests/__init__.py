"""Tests; a package so that `python -m tests.benchmarks.NAME` finds them."""

import os

os.environ.pop("MLFLOW_TRACKING_URI", None)  # they write to stores of their own, not to their user's
