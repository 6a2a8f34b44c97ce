"""Door: MLflow from journals.

python -m harness.tracking replay runs/granularity [--uri sqlite:///…]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.tracking.tracker import replay


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.tracking", description="MLflow from journals.")
    commands = parser.add_subparsers(dest="command", required=True)
    again = commands.add_parser("replay", help="rebuild a sweep's MLflow runs from its journals")
    again.add_argument("run_dir", type=Path, help="a sweep's folder, such as runs/granularity")
    again.add_argument("--uri", help="MLflow store (default: the one the sweep was run with)")
    options = parser.parse_args(arguments)
    from reports.trial import write_trial_views  # heavy

    try:
        tracker = replay(options.run_dir, options.uri, write_trial_views)
    except OSError as error:
        print(f"{options.run_dir} is not a sweep's folder: {error}", file=sys.stderr)
        return 2
    print(f"{options.run_dir}: rebuilt in {tracker.uri}, run {tracker.address}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
