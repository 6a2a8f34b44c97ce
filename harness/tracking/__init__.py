"""MLflow as a view of the journals: one process writes it, any time again, and nothing depends on it.

`tracker.py` runs and metrics, `store.py` the connection, `traces.py` episodes as traces, `sampling.py` which of them,
`summary.py` what is said of a trial that has ended, `rebuild.py` all of it from a sweep's folder, `__main__.py` the
door.
"""

from harness.tracking.client import default_uri
from harness.tracking.replay import replay
from harness.tracking.tracker import Tracker, TrialViews

__all__ = ["Tracker", "TrialViews", "default_uri", "replay"]
