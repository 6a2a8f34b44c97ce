"""A sweep from its checked file to its report: the order of events, and what is said when something goes wrong."""

from __future__ import annotations

import contextlib
import fnmatch
import shlex
import shutil
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.config import SweepSpec, TrialSpec, code_version, expand
from harness.paths import command
from harness.runs.journal import Journal, remove_checkpoints
from harness.runs.layout import BusyError, RunFolder, State, changes, locked, prepare_trial, write_manifest
from harness.sweep.cluster import Node, ResourceError, check_nodes, concurrency, join, leave, paths_are_absolute
from harness.sweep.code_versions import SUPERSEDED, of_earlier_code, revision, supersede
from harness.sweep.console import Screen, say, screen_for
from harness.sweep.hints import where_mlflow_is
from harness.sweep.mlflow_writer import Feeder
from harness.sweep.report_hooks import import_reports, report, trial_views
from harness.sweep.status import Figures, Watch
from harness.sweep.tune import TuneRun
from harness.sweep.worker import TRIAL
from harness.tracking import default_uri

OUT = Path("runs")
LOOK_S = 1.0
FULL_BYTES = 1 << 20
"""A disk with less room counts as full: a checkpoint and most episode files are larger."""
FINISHED, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to run a sweep. `trial` is the function to run, `module:name`."""

    out: Path = OUT
    dry_run: bool = False
    only: str | None = None
    limit: int | None = None
    trial: str = TRIAL
    address: str | None = None
    """Of a running Ray cluster; None: this machine."""
    rerun: bool = False
    """Run trials anew that another version of the code began."""
    prepare: bool = False
    """Make the trials' folders and run none, see `harness.sweep.run_trials`."""


def run_sweep(spec: SweepSpec, options: Options, console: Console) -> int:
    """Run what is not finished, show it, report on it. Returns the exit status."""
    folder = RunFolder(options.out / spec.name)
    try:
        nodes = _cluster(spec, options, folder, console) if options.address else None
        parallel = concurrency(spec.file.resources, nodes)
        differences = changes(folder, spec)
        if differences:
            return _refuse(console, folder, differences)
        code = code_version()
        trials = expand(spec, code)
        earlier = of_earlier_code(folder, trials)
        if earlier is not None and not options.rerun:
            for line in earlier.refusal(folder, code, f"{_command(spec, options, options.only)} --rerun"):
                say(console, line)
            return REFUSED
        chosen = [(t, folder.trial(t)) for t in trials if fnmatch.fnmatch(t.name, options.only or "*")]
        if not chosen:
            say(console, f"no trial matches {options.only!r}; there are: {', '.join(t.name for t in trials[:20])}")
            return REFUSED
        if options.dry_run:
            from harness.sweep.dry_run import preview  # heavy

            preview(console, spec, chosen, Watch(chosen).look(), parallel, options.trial, options.limit)
            return FINISHED
        with locked(folder.root / ".lock"):
            return _run(spec, code, options, console, folder, trials, chosen, nodes)
    except (BusyError, ResourceError) as error:
        say(console, f"{spec.path}: {error}")
        return REFUSED
    except KeyboardInterrupt:
        say(console, "stopped" if options.dry_run else _to_go_on(spec, options))
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        say(console, f"{spec.path}: its files cannot be read or written under --out {options.out}: {place}")
        return REFUSED
    finally:
        if options.address:
            leave()


def _cluster(spec: SweepSpec, options: Options, folder: RunFolder, console: Console) -> list[Node]:
    """Join the cluster; its nodes, which can do the work. Raises ResourceError."""
    paths_are_absolute(config for _, config in spec.cells)
    nodes = join(options.address or "auto", spec.file.resources)
    if not options.dry_run:
        check_nodes(folder.root.resolve())
    parts = [f"{n.name} ({n.cpus:g} CPUs, {n.gpus:g} GPUs)" for n in nodes]
    say(console, f"cluster of {len(nodes)} nodes: {', '.join(parts)}")
    return nodes


def _run(
    spec: SweepSpec,
    code: str,
    options: Options,
    console: Console,
    folder: RunFolder,
    trials: list[TrialSpec],
    chosen: list[tuple[TrialSpec, Path]],
    nodes: list[Node] | None,
) -> int:
    write_manifest(folder, spec)
    moved = supersede(folder, trials)
    if moved:
        say(console, f"the code has changed: {moved} earlier trials are now in {folder.root / SUPERSEDED}")
    for trial in trials:
        prepare_trial(folder.trial(trial), trial, code, spec.labels, spec.preregistration, revision())
    finished = [path for trial, path in chosen if Watch([(trial, path)]).look()[0].state is State.FINISHED]
    for path in finished:
        remove_checkpoints(path)  # of a trial whose process was killed just after it had finished
    if options.prepare:
        say(
            console,
            f"{len(chosen)} trials prepared, {len(finished)} finished; run them where you like, with this code:",
        )
        say(console, f"  {command('run-trials', 'harness.sweep.run_trials')} {folder.trials}/*")
        say(console, f"then, for MLflow and the report: {_command(spec, options)}")
        return FINISHED
    todo = [(t, path) for t, path in chosen if path not in finished][: options.limit]
    say(console, f"{spec.name}: {len(todo)} trials to run, {len(finished)} finished before, in {folder.root}")
    feeder = Feeder(folder, *_store(spec, options), trial_views)
    feeder.start()
    watch, whole = Watch(todo), Watch([(t, folder.trial(t)) for t in trials])
    interrupted, tune = False, None
    reports: list[Path] = []
    try:
        if todo:
            resources = spec.file.resources
            tune = TuneRun([path for _, path in todo], options.trial, resources, folder.root / ".ray", nodes)
            _follow(tune, watch, feeder, screen_for(console, spec.name, concurrency(resources, nodes)))
            _bury(todo, watch, tune)
        reports = report(console, folder, whole.look())
        if tune is not None:
            tune.leave()
    except KeyboardInterrupt:
        interrupted = True
    return _end(spec, options, console, feeder, todo, watch.look(), whole.look(), reports, interrupted)


def _follow(tune: TuneRun, watch: Watch, feeder: Feeder, screen: Screen) -> None:
    """Show the trials until they have ended. Raises KeyboardInterrupt when the user has stopped them."""
    previous = signal.signal(signal.SIGTERM, _as_interrupt) if _in_main_thread() else None
    told = ""
    try:
        with screen:
            screen.show(watch.look())
            tune.start()
            while not tune.wait(LOOK_S):
                if previous is not None:  # Ray, once it has started, aborts this process three seconds after a TERM
                    signal.signal(signal.SIGTERM, _as_interrupt)
                figures = watch.look()
                screen.show(figures)
                if any(f.attempt for f in figures):  # the first trials have begun: nobody waits for this now
                    import_reports()
                if feeder.trouble and feeder.trouble != told:
                    screen.say(
                        f"MLflow cannot be written ({feeder.trouble}); the journals go on, MLflow catches up later"
                    )
                told = feeder.trouble
            screen.show(watch.look())
    except KeyboardInterrupt:
        screen.say("stopping …")
        tune.stop()
        raise
    except OSError:
        with contextlib.suppress(OSError):  # as the first one, which is to be told
            tune.stop()
        raise
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
    if isinstance(tune.error, ResourceError):
        raise tune.error
    if tune.error is not None:  # Ray itself gave up, for want of memory for instance: what was finished stays
        screen.say(f"Ray stopped the sweep: {_short(tune.error)}")


def _bury(todo: Sequence[tuple[TrialSpec, Path]], watch: Watch, tune: TuneRun) -> None:
    """A trial that Ray gave up without a result (its worker was killed each time) gets one that says so.

    Not one that a process of somebody else is at work on, as in a batch system's job.
    """
    silence = "the worker process died without a word" if tune.error is None else _short(tune.error)
    for (trial, path), now in zip(todo, watch.look(), strict=True):
        if not now.ended and (now.attempt > 0 or tune.error is None):  # after a crash of Ray others had no chance yet
            error = tune.reasons.get(path.name, silence)
            if shutil.disk_usage(path).free < FULL_BYTES:  # Ray's own files are there too, and it says odd things then
                error = f"no space left on the disk that holds {path.parent} ({error})"
            # a full disk: the missing result says unfinished
            with contextlib.suppress(BusyError, OSError), locked(path / ".lock"), Journal(path) as journal:
                journal.fail(trial.key, f"WorkerDied: {error}")


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _end(
    spec: SweepSpec,
    options: Options,
    console: Console,
    feeder: Feeder,
    chosen: list[tuple[TrialSpec, Path]],
    figures: list[Figures],
    everything: list[Figures],
    reports: list[Path],
    interrupted: bool,
) -> int:
    count = {state: sum(f.state is state for f in everything) for state in State}
    complete = count[State.FINISHED] == len(everything)
    failed = [f for f in figures if f.state is State.FAILED]
    told = interrupted
    if interrupted:  # before MLflow, which may be waited for
        say(console, _to_go_on(spec, options))
    try:
        trouble = feeder.close("FINISHED" if complete else "FAILED" if failed else "KILLED", reports)
    except KeyboardInterrupt:
        trouble, interrupted = "it was not waited for", True
    retried = sum(f.attempt > 1 for f in figures)
    say(console, "")
    for f in failed:
        say(console, f"failed: {f.name}: {f.error}")
    left = len(everything) - count[State.FINISHED] - len(failed)
    say(console, f"{count[State.FINISHED]} of {len(everything)} trials finished, {len(failed)} failed, "
                 f"{retried} started again, {left} not run")  # fmt: skip
    uri, _ = _store(spec, options)
    folder = options.out / spec.name
    if trouble:
        say(console, f"MLflow could not be written ({trouble}); when it is back: "
                     f"{command('replay', 'harness.tracking replay')} {folder}")  # fmt: skip
    else:
        say(console, f"MLflow: {where_mlflow_is(uri, feeder.address)}")
    if not complete and not told:
        say(console, f"to run the rest: {_command(spec, options)}")
    if interrupted:
        return INTERRUPTED
    return FAILED if failed or not all(f.state is State.FINISHED for f in figures) else FINISHED


def _to_go_on(spec: SweepSpec, options: Options) -> str:
    return f"stopped; finished trials are kept. To go on: {_command(spec, options, options.only)}"


def _refuse(console: Console, folder: RunFolder, differences: list[str]) -> int:
    say(console, f"{folder.root} holds another version of this sweep:")
    for line in differences:
        say(console, f"  {line}")
    say(console, "its trials cannot be compared with those asked for; give the new version a name of its own: name=…")
    return REFUSED


def _store(spec: SweepSpec, options: Options) -> tuple[str, str]:
    tracking = spec.file.tracking
    return tracking.uri or default_uri(options.out), tracking.experiment or spec.name


def _command(spec: SweepSpec, options: Options, only: str | None = None) -> str:
    """What to type to go on with these trials (default: all of the sweep)."""
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
