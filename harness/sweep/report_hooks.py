"""The report at a sweep's end: a summary and learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.runs.staging import staged_files
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.console import print_redacted
from harness.sweep.status import TrialProgress

SUMMARY, WHOLE = "summary.csv", "summary.txt"
LOG_COLUMNS = 120


def import_reports() -> None:
    """Import what the report needs early: sources may be edited while a sweep runs."""


def trial_views(trial: TrialRun, out: Path) -> None:
    from reports.trial_view import write_trial_views  # heavy: not before the first trial starts

    write_trial_views(trial, out)


def report(console: Console, folder: SweepFolder, progress: Sequence[TrialProgress]) -> list[Path]:
    """Print the verdict and summary of the finished trials in few lines; write the whole summary and learning curves.
    The files written."""
    if not any(p.status is TrialStatus.FINISHED for p in progress):
        return []
    from analysis.design_evidence import summarise_sweep
    from analysis.screen_summary import screen_summary
    from reports.write_report import write_learning_curves

    print_redacted(console, "")
    summary = summarise_sweep(folder.root)
    for line in screen_summary(summary, console.width if console.is_terminal else LOG_COLUMNS):
        print_redacted(console, line)
    try:
        with staged_files(folder.report, SUMMARY) as staging:
            figures = write_learning_curves(folder.root, staging / "figures")
            (staging / SUMMARY).write_text(summary.csv(), encoding="utf-8")
            (staging / WHOLE).write_text(summary.text(), encoding="utf-8")
    except OSError as error:  # the trials have finished all the same, and MLflow is still to be written
        print_redacted(console, f"learning curves and tables cannot be written: {error}")
        return []
    print_redacted(console, f"whole summary and learning curves: {folder.report}")
    return [folder.report / path.relative_to(staging) for path in (*figures, staging / SUMMARY, staging / WHOLE)]


def print_damage(console: Console, folder: SweepFolder) -> bool:
    """Name every damaged journal of the sweep; whether there is one."""
    damage = folder.damage()
    for line in damage:
        print_redacted(console, f"damaged journal: {folder.root}/{line}")
    if damage:
        print_redacted(console, "to run such a trial again: remove its result.json, then the same command")
    return bool(damage)
