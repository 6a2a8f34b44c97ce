"""What a sweep shows of its results when it ends: a summary, its learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.runs.layout import RunFolder, State
from harness.sweep.console import say
from harness.sweep.status import Figures


def import_reports() -> None:
    """What the end needs, as it is at the beginning: sources may be edited while a sweep runs."""
    import reports.build
    import reports.trial_view  # noqa: F401


def trial_views(trial: Path, out: Path) -> None:
    from reports.trial_view import write_trial_views  # heavy: not while the first trial waits to begin

    write_trial_views(trial, out)


def report(console: Console, folder: RunFolder, everything: Sequence[Figures]) -> list[Path]:
    """Print the summary and write the summary table and the learning curves of finished trials; the files written."""
    if not any(f.state is State.FINISHED for f in everything):
        return []
    from analysis.summary import summarise_sweep
    from reports.build import write_learning_curves

    say(console, "")
    summary = summarise_sweep(folder.root)
    if console.is_terminal:
        summary.print()
    else:
        say(console, summary.text())
    try:
        paths = write_learning_curves(folder.root, folder.report / "figures")
        table = folder.report / "summary.csv"
        table.write_text(summary.csv(), encoding="utf-8")
    except OSError as error:  # the trials have finished all the same, and MLflow is to say so
        say(console, f"learning curves and tables cannot be written: {error}")
        return []
    say(console, f"learning curves and tables: {folder.report}")
    return [*paths, table]
