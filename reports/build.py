"""A sweep's report.

    python -m reports.build runs/granularity                        # into runs/granularity/report
    python -m reports.build granularity --uri sqlite:///mlflow.db   # from MLflow, into runs/granularity/report

Prints the verdict; writes report.html (one file, for offline reading), report.pdf, figures/, tables/ and summary.txt.
An evaluation's folder is reported like a sweep's. Exit status: 0 done, 1 no report, or one that leaves out trials with
damaged files.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.paths import command
from harness.runs.symbolic_links import link_within
from harness.types.redact import error_text, printable, redact

if TYPE_CHECKING:
    from analysis.frames import Frames


def _frames(source: str, uri: str | None, cache: Path) -> Frames:
    from analysis.load import LoadError, load_frames

    if (Path(source) / "trials").is_dir():
        return load_frames(source)
    if uri is None and Path(source).exists():
        raise LoadError(f"{source}: no trials/ inside; is this a sweep's output folder?")
    from analysis.load_mlflow import load_experiment

    return load_experiment(source, uri, cache)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("report", "reports.build"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="a sweep's output folder, or the name of an MLflow experiment")
    parser.add_argument("--out", type=Path, help="default: SOURCE/report, or runs/EXPERIMENT/report")
    parser.add_argument("--uri", help="MLflow store or server of the experiment; default: sqlite:///runs/mlflow.db")
    options = parser.parse_args(arguments)
    from analysis.screen_summary import screen_summary
    from harness.runs.sweep_folder import SweepFolder
    from reports.report_data import gather_report_data
    from reports.write_report import write_report  # heavy: after the arguments were read

    folder = Path(options.source)
    out = options.out or (folder if folder.is_dir() else Path("runs") / options.source) / "report"
    if options.out is None and (link := link_within(out)) is not None:
        print(f"no report: {link} is a symbolic link, and nothing is written through it; give --out", file=sys.stderr)
        return 1
    try:
        data = gather_report_data(_frames(options.source, options.uri, out / "episodes"))
        paths = write_report(data, out)
    except ValueError as error:
        print(f"no report: {error_text(error)}", file=sys.stderr)
        return 1
    for line in screen_summary(data.summary, shutil.get_terminal_size((120, 24)).columns):
        print(printable(redact(line)))
    print(f"{paths[0]} and {len(paths) - 1} more files")
    damage = SweepFolder(folder).damage() if folder.is_dir() else []
    for line in damage:
        print(f"damaged journal: {folder}/{printable(line)}", file=sys.stderr)
    return 1 if damage else 0


if __name__ == "__main__":
    sys.exit(main())
