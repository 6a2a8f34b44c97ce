"""Door: MLflow from journals.

python -m harness.tracking replay runs/granularity [--uri sqlite:///…]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.paths import command
from harness.redact import error_text, redact
from harness.runs.layout import BusyError
from harness.tracking.replay import NoSweepError, replay


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=command("", "harness.tracking"), description="MLflow from journals.")
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("replay", help="rebuild a sweep's MLflow runs from its journals")
    again.add_argument("run_dir", type=Path, help="a sweep's folder, such as runs/granularity")
    again.add_argument("--uri", help="MLflow store (default: as for the sweep itself)")
    options = parser.parse_args(arguments)
    from reports.trial_view import write_trial_views  # heavy

    try:
        tracker = replay(options.run_dir, options.uri, write_trial_views, _report)
    except BusyError as error:
        print(f"not replayed: {error_text(error)}", file=sys.stderr)
        return 2
    except NoSweepError as error:
        print(f"{options.run_dir} is not a sweep's folder: {error_text(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    except Exception as error:  # whatever the store raises
        told = " ".join(error_text(error).split())[:300] or type(error).__name__
        print(f"MLflow cannot be written ({told}); nothing is lost: give the same command again", file=sys.stderr)
        return 1
    print(f"{options.run_dir}: rebuilt in {redact(tracker.uri)}, run {tracker.address}")
    return 0


def _report(root: Path, out: Path) -> list[Path]:
    """What the driver draws of a sweep at its end, as far as it can be drawn."""
    from analysis.summary import summarise_sweep  # heavy
    from reports.build import write_learning_curves

    try:
        table = out / "summary.csv"
        table.write_text(summarise_sweep(root).csv(), encoding="utf-8")
        return [*write_learning_curves(root, out), table]
    except Exception as error:  # the runs are worth having without it
        print(f"{root}: no report: {type(error).__name__}: {error_text(error)}", file=sys.stderr)
        return []


if __name__ == "__main__":
    sys.exit(main())
