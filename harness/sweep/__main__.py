"""Train every arm of a sweep file over its seeds, log to MLflow, and write the summary and learning curves.

    python -m harness.sweep granularity.yaml --dry-run          # trials, cost and power of the design; runs nothing
    python -m harness.sweep ablations/granularity.yaml seeds=5  # train all arms with seeds 0 to 4
    python -m harness.sweep mine.yaml steps=10 update.learning_rate=1e-4 --only 'gsspo*' --limit 2

The same command again resumes where the last one stopped. Trials cannot be resumed with other code: when the code has
changed since, the command lists the choices and exits. Exit status: 0 all finished, 1 a trial failed, 2 an unusable
configuration or folder (or a plan that does not fit), 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

from harness.config import ConfigError, SweepSpec, load_sweep
from harness.config.data_checks import questions_exist, training_questions_exist
from harness.config.expand import SWEEP_CHECKS
from harness.config.settings_help import sweep_help
from harness.config.trust import service_lines
from harness.config.unused_settings import repeated
from harness.paths import command, shipped_sweeps, sweep_file
from harness.types.redact import printable, redact


def main(arguments: list[str] | None = None) -> int:
    try:
        return _sweep(arguments)
    except KeyboardInterrupt:  # while the file is checked or modules are imported; `run_sweep` handles later ones
        print("stopped", file=sys.stderr)
        return 130


def _sweep(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("sweep", "harness.sweep"),
        description=__doc__,
        epilog=sweep_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help="sweep file, or a shipped one by name, such as granularity.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="change a setting, such as steps=5 or seeds=3"
    )
    parser.add_argument("--small", action="store_true", help="the study's small mode: minutes, to check that it runs")
    parser.add_argument("--dry-run", action="store_true", help="show the trials, their cost and the design's power")
    parser.add_argument("--pilot", type=Path, metavar="FOLDER",
                        help="with --dry-run: evaluate the plan's checks on this sweep or results folder (default: the"
                        " committed results of studies that compared the same)")  # fmt: skip
    parser.add_argument("--plan", action="store_true", help="show the memory that a trial needs, and whether it fits")
    parser.add_argument("--gpus", metavar="1x80GB", help="with --plan: the GPUs to fit (default: this machine's)")
    parser.add_argument("--only", metavar="GLOB", help="only trials whose name matches, such as 'gsspo*'")
    parser.add_argument("--limit", type=int, metavar="N", help="run at most N trials now")
    parser.add_argument("--rerun", action="store_true",
                        help="set trials of another code version aside and run them again, instead of refusing to"
                        " start")  # fmt: skip
    parser.add_argument(
        "--prepare",
        action="store_true",
        help="create the trials' folders and run none: harness.sweep.run_trials runs them, without Ray",
    )
    parser.add_argument("--address", metavar="HOST:PORT", default=os.environ.get("RAY_ADDRESS"),
                        help="run on this Ray cluster, or on the one this machine is part of: auto"
                        " (default: $RAY_ADDRESS, else this machine alone)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of sweeps and of MLflow (default: runs)")
    options = parser.parse_intermixed_args(arguments)
    if options.gpus and not options.plan:
        parser.error("--gpus goes with --plan")
    if options.pilot is not None and not options.dry_run:
        parser.error("--pilot goes with --dry-run")
    ways = [way for way in ("--plan", "--dry-run", "--prepare") if getattr(options, way[2:].replace("-", "_"))]
    if len(ways) > 1:
        parser.error(f"{' and '.join(ways)}: give one of them")
    unused = [name for name in ("only", "limit", "rerun") if getattr(options, name) not in (None, False)]
    if options.plan and unused:
        parser.error(f"--{unused[0]} has no effect on --plan: the memory of every arm is shown")
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    try:
        file = sweep_file(options.file)
        from harness.sweep.turn_budgets import turns_fit

        data_needed = (questions_exist, training_questions_exist)  # a plan is made before there are data
        planned = tuple(check for check in SWEEP_CHECKS if check not in data_needed)
        checks = planned if options.plan else (*SWEEP_CHECKS, turns_fit)
        spec = load_sweep(file, options.overrides, checks, small=options.small)
    except ConfigError as error:
        print(error.render(), file=sys.stderr)
        if not file.exists():
            print(f"shipped: {', '.join(shipped_sweeps())}", file=sys.stderr)
        return 2
    for line in repeated(options.overrides):
        print(line, file=sys.stderr)
    if options.plan:
        return _plan(spec, options.gpus)
    if not (options.dry_run or options.prepare) and (missing := _missing(spec)):
        print(f"{spec.path}: {missing}", file=sys.stderr)
        return 2
    for line in dict.fromkeys(line for _, config in spec.cells for line in service_lines(config.environment)):
        print(printable(redact(line)), flush=True)
    from rich.console import Console

    from harness.sweep.options import Options  # heavy: after the configuration was validated
    from harness.sweep.run import run_sweep

    return run_sweep(
        spec,
        Options(
            out=options.out,
            dry_run=options.dry_run,
            only=options.only,
            limit=options.limit,
            address=options.address or None,
            rerun=options.rerun,
            prepare=options.prepare,
            pilot=options.pilot,
        ),
        Console(),
    )


def _missing(spec: SweepSpec) -> str | None:
    """How to install an engine that is missing, before trials wait for a GPU and fail."""
    if all(config.engine.kind != "vllm" for _, config in spec.cells) or find_spec("vllm") is not None:
        return None
    from harness.engines.vllm import INSTALL

    return INSTALL


def _plan(spec: SweepSpec, described: str | None) -> int:
    from rich.console import Console

    from harness.sweep.memory_plan.gpus import detect_gpus, parse_gpus
    from harness.sweep.memory_plan.shapes import PlanError
    from harness.sweep.memory_plan.show import show_plan

    try:
        gpus = parse_gpus(described) if described else detect_gpus()
        return 0 if show_plan(Console(), spec, gpus) else 2
    except PlanError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
