"""Run prepared trials without Ray and MLflow, such as in the jobs of a batch system.

    python -m harness.sweep ablations/granularity.yaml --prepare
    python -m harness.sweep.run_trials runs/granularity/trials/*  (in any number of processes, jobs and machines)
    python -m harness.sweep ablations/granularity.yaml          (MLflow, summary and report; runs the rest)

Each process takes one folder after the other and skips those that another process has locked, so all may be given the
same folders. An interrupted trial resumes from its checkpoint. Services, keys and paths that a folder names are used
with `--trust` only: the folder may be another person's. Exit status: 0 all finished, 1 one failed or is running
elsewhere, 2 an unusable folder, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import yaml

from harness.config import ConfigError, code_version
from harness.config.base_layers import profile_named_in, read_profile
from harness.config.trust import review, variables_are_keys
from harness.config.yaml_source import Source, read_text
from harness.paths import command
from harness.runs.layout import INFO
from harness.runs.lock import BusyError
from harness.runs.records import TrialInfo, TrialStatus
from harness.runs.run import TrialRun
from harness.sweep.attempts import TrialFailed
from harness.sweep.worker import TRIAL, run_one
from harness.types.redact import error_text, printable


def main(arguments: list[str] | None = None, function: str = TRIAL) -> int:
    parser = argparse.ArgumentParser(
        prog=command("run-trials", "harness.sweep.run_trials"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="such as runs/granularity/trials/*")
    parser.add_argument("--trust", action="store_true", help="use services, keys and paths that the folders name")
    options = parser.parse_args(arguments)
    runs = [TrialRun(folder) for folder in options.folders]
    infos, errors = [], []
    for run in runs:
        try:
            infos.append(_runnable(run, options.trust))
        except (OSError, ValueError) as error:
            errors.append(f"{run.folder}: {error_text(error)}")
    if errors:
        print("\n".join(errors), file=sys.stderr)
        return 2
    try:
        finished = [_run(run, info, function) for run, info in zip(runs, infos, strict=True)]
    except KeyboardInterrupt:
        print("stopped; to resume: the same command", file=sys.stderr)
        return 130
    return 0 if all(finished) else 1


def _runnable(run: TrialRun, trust: bool) -> TrialInfo:
    """Raises OSError or ValueError where this code cannot run the folder's trial, or it names services or paths that
    `trust` does not confirm."""
    try:
        info = run.info()
    except FileNotFoundError:
        raise ValueError(
            f"not a trial's folder: `{command('sweep', 'harness.sweep')} FILE --prepare` creates them"
        ) from None
    if info.code != code_version():
        raise ValueError("prepared by another version of the code: prepare it again with this one")
    text = yaml.safe_dump(info.settings, sort_keys=False, allow_unicode=True)
    try:
        tree = read_text(Source(f"{run.folder}/{INFO}: config", text))
        shipped = read_profile(profile_named_in(tree), tree.at)
        problems, confirmed = review(tree, tree.at.source, shipped, trust, training=True)
        problems += variables_are_keys(tree)
        if problems:
            raise ConfigError(problems)
    except ConfigError as error:
        raise ValueError(error.render()) from None
    for line in confirmed:
        _printed(printable(line), True)
    return info


def _run(run: TrialRun, info: TrialInfo, function: str) -> bool:
    """Run the trial and print its outcome; whether it has finished, now or before."""
    if run.status(info.key) is TrialStatus.FINISHED:
        run.end_checkpoints()  # left by a process that was killed just after the trial had finished
        return _printed(f"{info.name}: already finished", True)
    if (where := run.diverged(info.key)) is not None:
        return _printed(f"{info.name}: not run again, it diverged at {where} is not finite", False)
    try:
        with run.lock():
            pass  # `run_one` would wait for it
        _printed(f"{info.name}: started", True)
        run_one(run, function)
    except BusyError:
        return _printed(f"{info.name}: running in another process", False)
    except TrialFailed as error:
        if run.status(info.key) is not TrialStatus.FAILED:
            return _printed(f"{info.name}: failed: {error}", False)
    except (OSError, ValueError) as error:  # a disk that refuses, or a damaged list of attempts: the others still run
        return _printed(f"{info.name}: cannot be run: {error}", False)
    if (where := run.diverged(info.key)) is not None:
        return _printed(f"{info.name}: diverged at {where} is not finite", False)
    if run.status(info.key) is TrialStatus.FAILED:
        return _printed(f"{info.name}: failed: {run.error_line() or 'no message'}", False)
    em = (run.result() or {}).get("final", {}).get("eval/em")
    return _printed(f"{info.name}: finished" + (f", EM {em:.3f}" if isinstance(em, float) else ""), True)


def _printed(line: str, finished: bool) -> bool:
    print(line, flush=True)
    return finished


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as a batch system ends a job
    sys.exit(main())
