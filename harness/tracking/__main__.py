"""Rebuild the MLflow runs of a sweep or an evaluation from its folder.

    python -m harness.tracking replay runs/granularity
    python -m harness.tracking replay runs/evaluations/mine-1a2b3c4d --uri http://127.0.0.1:5000

Exit status: 0 done, 1 MLflow cannot be written, or a damaged journal left something out, 2 no such folder, or one that
another process works in, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.paths import command
from harness.runs.lock import BusyError
from harness.runs.sweep_folder import SweepFolder
from harness.tracking.hints import where_mlflow_is
from harness.tracking.replay import ForeignStoreError, NotASweepError, is_evaluation, replay, replay_evaluation
from harness.types.redact import error_text, printable, redact


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("", "harness.tracking"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    rebuild = commands.add_parser(
        "replay",
        help="rebuild the runs of a sweep's or an evaluation's folder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    rebuild.add_argument("run_dir", type=Path, help="folder of a sweep or an evaluation, such as runs/granularity")
    rebuild.add_argument("--uri", help="MLflow store (default: the one beside the folder)")
    rebuild.add_argument("--trust", action="store_true", help="write to the store that the folder itself names")
    options = parser.parse_args(arguments)
    damage = SweepFolder(options.run_dir).damage()
    for line in damage:
        print(f"damaged journal: {options.run_dir}/{printable(line)}", file=sys.stderr)
    try:
        store, addresses = _replay(options.run_dir, options.uri, options.trust)
    except BusyError as error:
        print(f"not replayed: {error_text(error)}", file=sys.stderr)
        return 2
    except NotASweepError as error:
        print(f"{options.run_dir} is not a sweep's folder, nor an evaluation's: {error_text(error)}", file=sys.stderr)
        return 2
    except ForeignStoreError as error:
        hint = "to write there: --trust; to write elsewhere: --uri STORE"
        print(f"not replayed: {error_text(error)}; {hint}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; to resume: the same command", file=sys.stderr)
        return 130
    except Exception as error:  # any error of the store
        reason = " ".join(error_text(error).split())[:300] or type(error).__name__
        print(f"MLflow cannot be written ({reason}); to retry: the same command", file=sys.stderr)
        return 1
    for address in addresses:
        print(f"{options.run_dir}: rebuilt in {redact(store)}: {redact(where_mlflow_is(store, address))}")
    return 1 if damage else 0


def _replay(root: Path, uri: str | None, trust: bool) -> tuple[str, list[str]]:
    """(store, addresses of the runs). Raises as `replay` and `replay_evaluation` do."""
    if is_evaluation(root):
        return replay_evaluation(root, uri, trust)
    from reports.trial_view import write_trial_views  # heavy

    tracker = replay(root, uri, write_trial_views, _write_report, trust)
    return tracker.uri, [tracker.address]


def _write_report(root: Path, out: Path) -> list[Path]:
    """The report that the driver writes at a sweep's end; no files if it cannot be drawn."""
    from analysis.design_evidence import summarise_sweep  # heavy
    from reports.write_report import write_learning_curves

    try:
        summary, table, whole = summarise_sweep(root), out / "summary.csv", out / "summary.txt"
        table.write_text(summary.csv(), encoding="utf-8")
        whole.write_text(summary.text(), encoding="utf-8")
        return [*write_learning_curves(root, out), table, whole]
    except Exception as error:  # the runs are useful without it
        print(f"{root}: no report: {type(error).__name__}: {error_text(error)}", file=sys.stderr)
        return []


if __name__ == "__main__":
    sys.exit(main())
