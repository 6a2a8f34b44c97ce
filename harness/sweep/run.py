"""Runs a sweep from its checked file to its report: the order of steps, and the messages when one of them fails."""

from __future__ import annotations

import contextlib
import fnmatch
import shlex
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.config import SweepSpec, TrialSpec, code_version, expand
from harness.paths import command
from harness.runs.journal import Journal
from harness.runs.lock import BusyError
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.cluster import ClusterNode, ResourceError, check_nodes, concurrency, join, leave, paths_are_absolute
from harness.sweep.code_versions import find_other_code, set_aside, source_revision
from harness.sweep.console import ProgressDisplay, display_for, print_redacted
from harness.sweep.mlflow_writer import MlflowWriter
from harness.sweep.options import OUT, Options
from harness.sweep.report_hooks import import_reports, print_damage, report, trial_views
from harness.sweep.status import SweepStatus, TrialProgress, opening_line, trials_by_outcome
from harness.sweep.tune import TuneRun
from harness.tracking import default_uri
from harness.tracking.hints import where_mlflow_is

POLL_S = 1.0
FULL_BYTES = 1 << 20
"""A disk with less free space counts as full: a checkpoint and most episode files are larger."""
FINISHED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""


def run_sweep(spec: SweepSpec, options: Options, console: Console) -> int:
    """Run the unfinished trials, show their progress, write the report. Returns the exit status."""
    folder = SweepFolder(options.out / spec.name)
    try:
        nodes = _cluster(spec, options, folder, console) if options.address else None
        parallel = concurrency(spec.file.resources, nodes)
        differences = folder.differences(spec)
        if differences:
            return _refuse(console, folder, differences)
        if spec.file.tuning is not None and not options.dry_run:
            print_redacted(
                console,
                f"{spec.path}: tuning is registered, and a sweep does not carry it out yet: its trials would be of"
                " untuned arms. --dry-run shows the plan; without `tuning` the sweep runs, as another plan",
            )
            return REFUSED
        code = code_version()
        trials = expand(spec, code)
        other_code = find_other_code(folder, trials)
        if other_code is not None and not options.rerun:
            for line in other_code.refusal(folder, code, f"{_command(spec, options, options.only)} --rerun"):
                print_redacted(console, line)
            return REFUSED
        chosen = [(t, folder.trial(t)) for t in trials if fnmatch.fnmatch(t.name, options.only or "*")]
        if not chosen:
            print_redacted(
                console, f"no trial matches {options.only!r}; there are: {', '.join(t.name for t in trials[:20])}"
            )
            return REFUSED
        if options.dry_run:
            from harness.sweep.dry_run import preview  # heavy

            preview(
                console, spec, chosen, SweepStatus(chosen).poll(), parallel, options.trial, options.limit, options.pilot
            )
            return FINISHED
        with folder.lock():
            return _run(spec, code, options, console, folder, trials, chosen, nodes)
    except (BusyError, ResourceError) as error:
        print_redacted(console, f"{spec.path}: {error}")
        return REFUSED
    except KeyboardInterrupt:
        print_redacted(console, "stopped" if options.dry_run else _stopped_line(spec, options))
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        print_redacted(console, f"{spec.path}: cannot read or write its files under --out {options.out}: {place}")
        return REFUSED
    finally:
        if options.address:
            leave()


def _cluster(spec: SweepSpec, options: Options, folder: SweepFolder, console: Console) -> list[ClusterNode]:
    """Join the cluster and check its nodes. Raises ResourceError."""
    paths_are_absolute(config for _, config in spec.cells)
    nodes = join(options.address or "auto", spec.file.resources)
    if not options.dry_run:
        check_nodes(folder.root.resolve())
    parts = [f"{n.name} ({n.cpus:g} CPUs, {n.gpus:g} GPUs)" for n in nodes]
    print_redacted(console, f"cluster of {len(nodes)} nodes: {', '.join(parts)}")
    return nodes


def _run(
    spec: SweepSpec,
    code: str,
    options: Options,
    console: Console,
    folder: SweepFolder,
    trials: list[TrialSpec],
    chosen: list[tuple[TrialSpec, TrialRun]],
    nodes: list[ClusterNode] | None,
) -> int:
    folder.write_manifest(spec)
    moved = set_aside(folder, trials)
    if moved:
        print_redacted(console, f"the code has changed: {moved} earlier trials are now in {folder.superseded}")
    for trial in trials:
        folder.trial(trial).prepare(trial, code, spec.labels, spec.preregistration, source_revision())
    finished, diverged, rest = trials_by_outcome(chosen)
    for run in finished:
        run.end_checkpoints()  # left by a process that was killed just after its trial had finished
    if options.prepare:
        print_redacted(
            console,
            f"{len(chosen)} trials prepared, {len(finished)} already finished; to run them, with this code version:",
        )
        print_redacted(console, f"  {command('run-trials', 'harness.sweep.run_trials')} {folder.trials}/*")
        print_redacted(console, f"afterwards, for MLflow and the report: {_command(spec, options)}")
        return FINISHED
    todo = rest[: options.limit]
    print_redacted(console, f"{spec.name}: {opening_line(len(todo), len(finished), len(diverged), folder.root)}")
    writer = MlflowWriter(folder, *_store(spec, options), trial_views)
    writer.start()
    status, whole_status = SweepStatus(todo), SweepStatus([(t, folder.trial(t)) for t in trials])
    interrupted, tune = False, None
    reports: list[Path] = []
    try:
        if todo:
            resources = spec.file.resources
            tune = TuneRun([run for _, run in todo], options.trial, resources, folder.root / ".ray", nodes)
            _follow(tune, status, writer, display_for(console, spec.name, concurrency(resources, nodes)))
            record_worker_deaths(todo, status, tune)
        reports = report(console, folder, whole_status.poll())
        if tune is not None:
            tune.join()
    except KeyboardInterrupt:
        interrupted = True
    return _end(spec, options, console, writer, status.poll(), whole_status.poll(), reports, interrupted)


def _follow(tune: TuneRun, status: SweepStatus, writer: MlflowWriter, display: ProgressDisplay) -> None:
    """Run the trials and show their progress until all have ended. Raises KeyboardInterrupt when stopped."""
    previous = signal.signal(signal.SIGTERM, _as_interrupt) if _in_main_thread() else None
    reported = ""
    try:
        with display:
            display.show(status.poll())
            display.print_line("starting Ray; the first trials start within a minute")
            tune.start()
            while not tune.wait(POLL_S):
                if previous is not None:  # Ray, once it has started, aborts this process three seconds after a TERM
                    signal.signal(signal.SIGTERM, _as_interrupt)
                progress = status.poll()
                display.show(progress)
                if any(p.attempt for p in progress):  # the first trials run, so this import delays none
                    import_reports()
                if writer.error and writer.error != reported:
                    display.print_line(
                        f"MLflow cannot be written ({writer.error}); trials continue, MLflow is updated later"
                    )
                reported = writer.error
            display.show(status.poll())
    except KeyboardInterrupt:
        display.print_line("stopping … trials end within half a minute; what they have finished is kept")
        tune.stop()
        raise
    except OSError:
        with contextlib.suppress(OSError):  # the first error is the one to report
            tune.stop()
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
    if isinstance(tune.error, ResourceError):
        raise tune.error
    if tune.error is not None:  # Ray itself failed, for lack of memory for instance: finished trials stay
        display.print_line(f"Ray stopped the sweep: {_short(tune.error)}")


def record_worker_deaths(todo: Sequence[tuple[TrialSpec, TrialRun]], status: SweepStatus, tune: TuneRun) -> None:
    """Write a `failed` result for trials whose worker died without one. Skips trials locked by another process."""
    default = "the worker process died without an error message" if tune.error is None else _short(tune.error)
    for (trial, run), progress in zip(todo, status.poll(), strict=True):
        if not progress.ended and (
            progress.attempt > 0 or tune.error is None
        ):  # not those that a crash of Ray kept from starting
            error = tune.reasons.get(run.folder.name, default)
            if shutil.disk_usage(run.folder).free < FULL_BYTES:  # Ray's files are there too; its errors then mislead
                error = f"no space left on the disk that holds {run.folder.parent} ({error})"
            # a full disk: the missing result marks the trial unfinished
            with contextlib.suppress(BusyError, OSError), run.lock(), Journal(run.folder) as journal:
                journal.fail(trial.key, f"WorkerDied: {error}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _end(
    spec: SweepSpec,
    options: Options,
    console: Console,
    writer: MlflowWriter,
    progress: list[TrialProgress],
    whole: list[TrialProgress],
    reports: list[Path],
    interrupted: bool,
) -> int:
    """Finish MLflow and print the summary: `progress` of the trials of this run, `whole` of all. The exit status."""
    finished = sum(p.status is TrialStatus.FINISHED for p in whole)
    complete = finished == len(whole)
    failed = [p for p in whole if p.status is TrialStatus.FAILED]
    resume_shown = interrupted
    if interrupted:  # before MLflow, which may take a while
        print_redacted(console, _stopped_line(spec, options))
    try:
        error = writer.close("FINISHED" if complete else "FAILED" if failed else "KILLED", reports)
    except KeyboardInterrupt:
        error, interrupted = "interrupted", True
    restarted = sum(p.attempt > 1 for p in progress)
    print_redacted(console, "")
    for p in failed:
        print_redacted(console, f"failed: {p.name}: {p.error}")
    print_redacted(console, f"{finished} of {len(whole)} trials finished, {len(failed)} failed, "
                        f"{restarted} restarted, {len(whole) - finished - len(failed)} not run")  # fmt: skip
    uri, _ = _store(spec, options)
    folder = options.out / spec.name
    if error:
        print_redacted(console, f"MLflow could not be written ({error}); to write it later: "
                            f"{command('replay', 'harness.tracking replay')} {folder}")  # fmt: skip
    else:
        print_redacted(console, f"MLflow: {where_mlflow_is(uri, writer.address)}")
    if not resume_shown and not all(p.status is TrialStatus.FINISHED or p.diverged for p in whole):
        print_redacted(console, f"to run the rest: {_command(spec, options)}")
    if interrupted:
        return INTERRUPTED
    damaged = print_damage(console, SweepFolder(folder))
    return FAILED if failed or damaged or not all(p.status is TrialStatus.FINISHED for p in progress) else FINISHED


def _stopped_line(spec: SweepSpec, options: Options) -> str:
    return f"stopped; finished trials are kept. To resume: {_command(spec, options, options.only)}"


def _refuse(console: Console, folder: SweepFolder, differences: list[str]) -> int:
    print_redacted(console, f"{folder.root} holds a different version of this sweep:")
    for line in differences:
        print_redacted(console, f"  {line}")
    print_redacted(
        console, "its trials are not comparable with the new ones; give the new version its own name: name=…"
    )
    return REFUSED


def _store(spec: SweepSpec, options: Options) -> tuple[str, str]:
    tracking = spec.file.tracking
    return tracking.uri or default_uri(options.out), tracking.experiment or spec.name


def _command(spec: SweepSpec, options: Options, only: str | None = None) -> str:
    """The command that resumes these trials (default: all of the sweep)."""
    parts = [str(spec.path), *spec.overrides]
    parts += ["--small"] if spec.small else []
    parts += ["--only", only] if only else []
    parts += ["--out", str(options.out)] if options.out != OUT else []
    parts += ["--address", options.address] if options.address else []
    return f"{command('sweep', 'harness.sweep')} {shlex.join(parts)}"


def _as_interrupt(number: int, frame: Any) -> None:
    signal.alarm(0)  # Ray's, if its own handler was faster
    raise KeyboardInterrupt


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
