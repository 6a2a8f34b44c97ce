"""The report at a sweep's end: a summary and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.console import print_redacted
from harness.sweep.status import TrialProgress


def import_reports() -> None:
    """Import what the report needs early: sources may be edited while a sweep runs."""
    import reports.build
    import reports.trial_view  # noqa: F401


def trial_views(trial: TrialRun, out: Path) -> None:
    from reports.trial_view import write_trial_views  # heavy: not before the first trial starts

    write_trial_views(trial, out)


def report(console: Console, folder: SweepFolder, progress: Sequence[TrialProgress]) -> list[Path]:
    """Print the summary of the finished trials and write its table and learning curves; the files written."""
    if not any(p.status is TrialStatus.FINISHED for p in progress):
        return []
    from analysis.design_evidence import summarise_sweep
    from reports.build import write_learning_curves

    print_redacted(console, "")
    summary = summarise_sweep(folder.root)
    if console.is_terminal:
        summary.print()
    else:
        print_redacted(console, summary.text())
    try:
        paths = write_learning_curves(folder.root, folder.report / "figures")
        table = folder.report / "summary.csv"
        table.write_text(summary.csv(), encoding="utf-8")
    except OSError as error:  # the trials have finished all the same, and MLflow is still to be written
        print_redacted(console, f"learning curves and tables cannot be written: {error}")
        return []
    print_redacted(console, f"learning curves and tables: {folder.report}")
    return [*paths, table]
