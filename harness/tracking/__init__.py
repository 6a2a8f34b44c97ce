"""MLflow as a view of the journals, which can be written again at any time and on which no result depends.

`tracker.py` writes runs and metrics, `client.py` connects, `traces.py` turns episodes into traces, `trial_summary.py`
summarises a trial that has ended, `replay.py` rebuilds everything from a sweep's folder, `__main__.py` is its door.
"""

from harness.tracking.client import default_uri
from harness.tracking.replay import replay
from harness.tracking.tracker import Tracker, TrialViews

__all__ = ["Tracker", "TrialViews", "default_uri", "replay"]
