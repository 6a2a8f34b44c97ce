"""Door: rebuild MLflow runs from journals.

python -m harness.tracking replay runs/granularity [--uri sqlite:///…]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.paths import command
from harness.redact import error_text, redact
from harness.runs.lock import BusyError
from harness.tracking.replay import NotASweepError, replay


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("", "harness.tracking"), description="Rebuild MLflow runs from journals."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    rebuild = commands.add_parser("replay", help="rebuild a sweep's MLflow runs from its journals")
    rebuild.add_argument("run_dir", type=Path, help="a sweep's folder, such as runs/granularity")
    rebuild.add_argument("--uri", help="MLflow store (default: the sweep's own)")
    options = parser.parse_args(arguments)
    from reports.trial_view import write_trial_views  # heavy

    try:
        tracker = replay(options.run_dir, options.uri, write_trial_views, _write_report)
    except BusyError as error:
        print(f"not replayed: {error_text(error)}", file=sys.stderr)
        return 2
    except NotASweepError as error:
        print(f"{options.run_dir} is not a sweep's folder: {error_text(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; to resume: the same command", file=sys.stderr)
        return 130
    except Exception as error:  # any error of the store
        reason = " ".join(error_text(error).split())[:300] or type(error).__name__
        print(f"MLflow cannot be written ({reason}); to retry: the same command", file=sys.stderr)
        return 1
    print(f"{options.run_dir}: rebuilt in {redact(tracker.uri)}, run {tracker.address}")
    return 0


def _write_report(root: Path, out: Path) -> list[Path]:
    """The report that the driver writes at a sweep's end; no files if it cannot be drawn."""
    from analysis.design_evidence import summarise_sweep  # heavy
    from reports.build import write_learning_curves

    try:
        table = out / "summary.csv"
        table.write_text(summarise_sweep(root).csv(), encoding="utf-8")
        return [*write_learning_curves(root, out), table]
    except Exception as error:  # the runs are useful without it
        print(f"{root}: no report: {type(error).__name__}: {error_text(error)}", file=sys.stderr)
        return []


if __name__ == "__main__":
    sys.exit(main())
