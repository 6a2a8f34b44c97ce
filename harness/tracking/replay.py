"""Rebuilds a sweep's MLflow runs from its folder, when no driver is at work there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.runs.sweep_folder import SweepFolder
from harness.tracking.client import default_uri
from harness.tracking.tracker import Tracker, TrialViews

SweepReport = Callable[[Path, Path], list[Path]]
"""Writes the report of the sweep in the first folder into the second; returns the files."""


class NotASweepError(Exception):
    """The folder is not a sweep's, or its manifest cannot be read."""


def replay(
    root: Path, uri: str | None = None, views: TrialViews | None = None, report: SweepReport | None = None
) -> Tracker:
    """Rebuild a sweep's runs from its journals.

    The report is written again: the driver's own may have been replaced by that of another sweep of the same name.
    Raises NotASweepError for another folder, BusyError when a driver or another replay is at work in it.
    """
    folder = SweepFolder(root)
    manifest = _manifest(folder.manifest)
    tracking = manifest["tracking"]
    store = uri or tracking["uri"] or default_uri(root.parent)
    with folder.lock(), tempfile.TemporaryDirectory() as out:
        tracker = Tracker(folder, store, tracking["experiment"] or manifest["name"], views)
        tracker.delete_other_trials()
        for trial in folder.trial_runs():
            tracker.sync(trial)
        results = [trial.result() for trial in folder.trial_runs()]
        ended = {result["status"] for result in results if result is not None}
        files = report(root, Path(out)) if report is not None and "finished" in ended else []
        tracker.finish("KILLED" if None in results else "FAILED" if "failed" in ended else "FINISHED", files)
    return tracker


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise NotASweepError(" ".join(str(error).split())) from error
    if not isinstance(found, dict) or not {"name", "tracking"} <= found.keys():
        raise NotASweepError(f"{path} has no tracking section")
    return found
