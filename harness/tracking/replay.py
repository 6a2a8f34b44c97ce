"""A sweep's runs in MLflow from what lies in its folder, when no driver is at work there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.runs.journal import read_result
from harness.runs.layout import INFO, RunFolder, locked
from harness.tracking.client import default_uri
from harness.tracking.tracker import Tracker, TrialViews

SweepReport = Callable[[Path, Path], list[Path]]
"""Draws the report of the sweep in the first folder into the second; the files."""


class NoSweepError(Exception):
    """The folder is not a sweep's, or its file cannot be read."""


def replay(
    root: Path, uri: str | None = None, views: TrialViews | None = None, report: SweepReport | None = None
) -> Tracker:
    """Rebuild a sweep's runs from its journals.

    The report is drawn anew: the folder that the driver wrote it to may by now hold that of another sweep of this name.
    Raises NoSweepError when the folder is no sweep's, BusyError when a driver, or another replay, is at work in it.
    """
    folder = RunFolder(root)
    manifest = _manifest(folder.manifest)
    wanted = manifest["tracking"]
    store = uri or wanted["uri"] or default_uri(root.parent)
    with locked(root / ".lock"), tempfile.TemporaryDirectory() as out:
        tracker = Tracker(folder, store, wanted["experiment"] or manifest["name"], views)
        tracker.forget_others()
        for path in sorted(folder.trials.glob(f"*/{INFO}")):
            tracker.sync(path.parent)
        results = [read_result(path.parent) for path in folder.trials.glob(f"*/{INFO}")]
        ended = {result["status"] for result in results if result is not None}
        files = report(root, Path(out)) if report is not None and "finished" in ended else []
        tracker.finish("KILLED" if None in results else "FAILED" if "failed" in ended else "FINISHED", files)
    return tracker


def _manifest(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise NoSweepError(" ".join(str(error).split())) from error
    if not isinstance(found, dict) or not {"name", "tracking"} <= found.keys():
        raise NoSweepError(f"{path} does not say how the sweep is tracked")
    return found
