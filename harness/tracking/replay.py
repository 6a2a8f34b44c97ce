"""Rebuilds the MLflow runs of a sweep or an evaluation from its folder, when no driver is at work there."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.runs.sweep_folder import SweepFolder
from harness.runs.symbolic_links import link_within
from harness.tracking.client import beside, default_uri, foreign_place
from harness.tracking.evaluation_runs import EXPERIMENT, log_evaluation
from harness.tracking.tracker import Tracker, TrialViews

SweepReport = Callable[[Path, Path], list[Path]]
"""Writes the report of the sweep in the first folder into the second; returns the files."""


class NotASweepError(Exception):
    """The folder is not a sweep's, or its manifest cannot be read."""


class ForeignStoreError(Exception):
    """The folder, which may be another person's, names the store to write to."""


def is_evaluation(root: Path) -> bool:
    """Whether a folder is an evaluation's. Raises NotASweepError where it has no readable manifest."""
    return "evaluation" in _read(SweepFolder(root).manifest)


def replay_evaluation(root: Path, uri: str | None = None, trust: bool = False) -> tuple[str, list[str]]:
    """Rebuild the runs of an evaluation from its folder: (the store, the runs' paths in MLflow's pages).

    `trust` as in `replay`. Raises NotASweepError for a folder of an earlier version or with symbolic links,
    ForeignStoreError as `replay` does, and MLflow's exceptions.
    """
    settings = _read(SweepFolder(root).manifest)["evaluation"]
    tracking = settings.get("tracking") if isinstance(settings, dict) else None
    home, tracking = root.resolve().parents[1], tracking if isinstance(tracking, dict) else {}
    if (link := link_within(root)) is not None:
        raise NotASweepError(f"{link} is a symbolic link")
    store = _store(root, uri, tracking, home, str(tracking.get("experiment") or EXPERIMENT), trust)
    try:
        return store, [address for _, address in log_evaluation(root, store, tracking.get("experiment"), home)]
    except (KeyError, TypeError) as error:
        raise NotASweepError("an evaluation of an earlier version; run it again") from error


def replay(
    root: Path,
    uri: str | None = None,
    views: TrialViews | None = None,
    report: SweepReport | None = None,
    trust: bool = False,
) -> Tracker:
    """Rebuild a sweep's runs from its journals, in the store `uri`, by default the one beside the folder.

    The report is written again: the driver's own may have been replaced by that of another sweep of the same name.
    `trust`: write to the store that the folder's manifest names. Raises NotASweepError for another folder,
    ForeignStoreError where the folder leads to a store or place elsewhere, BusyError when a driver or another replay is
    at work in it.
    """
    folder = SweepFolder(root)
    manifest = _manifest(folder.manifest)
    tracking = manifest["tracking"]
    experiment = str(tracking.get("experiment") or manifest["name"])
    store = _store(root, uri, tracking, root.parent, experiment, trust)
    with folder.lock(), tempfile.TemporaryDirectory() as out:
        tracker = Tracker(folder, store, experiment, views)
        tracker.delete_other_trials()
        for trial in folder.trial_runs():
            tracker.sync(trial)
        results = [trial.result() for trial in folder.trial_runs()]
        ended = {result["status"] for result in results if result is not None}
        files = report(root, Path(out)) if report is not None and "finished" in ended else []
        tracker.finish("KILLED" if None in results else "FAILED" if "failed" in ended else "FINISHED", files)
    return tracker


def _store(root: Path, uri: str | None, tracking: dict[str, Any], home: Path, experiment: str, trust: bool) -> str:
    """The store to write to. Raises ForeignStoreError where the folder leads to a store or place elsewhere."""
    named = tracking.get("uri")
    store = str(uri or named or default_uri(home))
    if not trust and store not in (uri, default_uri(home), beside(home)):
        raise ForeignStoreError(f"{SweepFolder(root).manifest} names the store {named}")
    if uri is None and not trust and (fault := foreign_place(store, home, experiment)) is not None:
        raise ForeignStoreError(fault)
    return store


def _manifest(path: Path) -> dict[str, Any]:
    found = _read(path)
    if "name" not in found or not isinstance(found.get("tracking"), dict):
        raise NotASweepError(f"{path} has no tracking section")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise NotASweepError(" ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise NotASweepError(f"{path} is no mapping")
    return found
