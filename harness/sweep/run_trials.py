"""Door: run a sweep's trials where Ray and MLflow are not, such as in the jobs of a batch system.

    python -m harness.sweep ablations/granularity.yaml --prepare
    python -m harness.sweep.run_trials runs/granularity/trials/*  (in any number of processes, jobs and machines)
    python -m harness.sweep ablations/granularity.yaml          (MLflow, summary and report; runs what is left)

Each process takes one folder after the other and leaves those to others that they are at work on, so all may be given
the same folders. A trial that was interrupted goes on from its checkpoint. Exit status: 0 all finished, 1 one failed or
is at work elsewhere, 2 a folder that cannot be used, 130 stopped by the user.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from harness.config import code_version
from harness.paths import command
from harness.runs.journal import read_result, remove_checkpoints
from harness.runs.layout import BusyError, State, TrialInfo, first_error, locked, read_info, state_of
from harness.sweep.worker import TRIAL, TrialFailed, run_one


def main(arguments: list[str] | None = None, function: str = TRIAL) -> int:
    parser = argparse.ArgumentParser(
        prog=command("run-trials", "harness.sweep.run_trials"), description="Run prepared trials, in turn."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="such as runs/granularity/trials/*")
    folders = parser.parse_args(arguments).folders
    infos, troubles = [], []
    for folder in folders:
        try:
            infos.append(_usable(folder))
        except (OSError, ValueError) as error:
            troubles.append(f"{folder}: {error}")
    if troubles:
        print("\n".join(troubles), file=sys.stderr)
        return 2
    try:
        ends = [_run(folder, info, function) for folder, info in zip(folders, infos, strict=True)]
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0 if all(ends) else 1


def _usable(folder: Path) -> TrialInfo:
    """Raises OSError or ValueError, in words, where this code cannot run what is in the folder."""
    try:
        info = read_info(folder)
    except FileNotFoundError:
        raise ValueError(
            f"no trial's folder: `{command('sweep', 'harness.sweep')} FILE --prepare` makes them"
        ) from None
    if info.code != code_version():
        raise ValueError("prepared by another version of the code: prepare it again with this one")
    return info


def _run(folder: Path, info: TrialInfo, function: str) -> bool:
    """Whether the trial has finished, now or before; tells what happened."""
    if state_of(folder, info.key) is State.FINISHED:
        remove_checkpoints(folder)  # of a process that was killed just after it had finished
        return _told(f"{info.name}: finished before", True)
    try:
        with locked(folder / ".lock"):
            pass  # `run_one` would wait for it
        _told(f"{info.name}: started", True)
        run_one(folder, function)
    except BusyError:
        return _told(f"{info.name}: another process is at work on it", False)
    except TrialFailed as error:
        told = first_error(folder) if state_of(folder, info.key) is State.FAILED else str(error)
        return _told(f"{info.name}: failed: {told}", False)
    except (OSError, ValueError) as error:  # a disk that refuses, or a damaged list of attempts: the others go on
        return _told(f"{info.name}: cannot be run: {error}", False)
    em = (read_result(folder) or {}).get("final", {}).get("eval/em")
    return _told(f"{info.name}: finished" + (f", EM {em:.3f}" if isinstance(em, float) else ""), True)


def _told(line: str, end: bool) -> bool:
    print(line, flush=True)
    return end


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # how a batch system ends a job
    sys.exit(main())
