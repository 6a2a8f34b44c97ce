"""Worker process of a trial: runs it from its folder and always leaves its output and its result on disk."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness.config import code_version, own_code, trial_key
from harness.distributed.collective import ALONE, Collective
from harness.runs.host_info import machine_kind, packages
from harness.runs.journal import Journal
from harness.runs.jsonl import LineLog, write_atomically
from harness.runs.layout import EVENTS, METRICS, AttemptEvent
from harness.runs.records import TrialInfo, TrialStatus
from harness.runs.run import TrialRun
from harness.sweep.attempts import TrialFailed, TrialRefused, trunk_state
from harness.sweep.resource_monitor import measured
from harness.tasks.benchmarks.errors import DataError
from harness.types import Diverged, Question, Trajectory
from harness.types.redact import RedactedStream, redact, variables_in

if TYPE_CHECKING:
    from harness.runs.checkpoint import Checkpoint

TrialFunction = Callable[..., dict[str, float]]
"""Takes a configuration, a sink, and its workers if there are several."""

TRIAL = "harness.training.train:run_trial"

LOCK_WAIT_S = 60.0
"""Time for a killed driver's worker to end and release the folder's lock."""
TRUNK_WAIT_S = 1e7
"""Time for the process that trains a trunk: the trials that branch from it have nothing else to do."""


def run_one(trial: TrialRun, function: str, workers: Collective = ALONE, wait_s: float = LOCK_WAIT_S) -> None:
    """Run a trial, from its last checkpoint if it has one, unless it has finished. `function` is `module:name`.

    A trial that diverges, or whose data, prompts or trunk cannot be used, has failed, too, but returns: Ray would
    restart it in vain. Raises TrialFailed with any other error of the trial, or where this process runs another code
    version; of several workers one that refuses raises TrialRefused, since the others may be waiting for it.
    A trial that branches from another first has that one finished, here or by the process that is at it.
    Rank 0 of several `workers` calls this, the others `run_share`. Another process's lock is waited for `wait_s`.
    """
    info = trial.info()
    _check_code(info)
    train = partial(run_one, function=function, wait_s=TRUNK_WAIT_S)
    origin, refused = trunk_state(trial, info, train) if info.trunk else (None, None)
    clean = partial(redact, variables=variables_in(info.settings))
    with trial.lock(wait_s), _output_to(trial.output_file, clean), trial.attempt_log() as log:
        # finished by a killed driver's worker, after this driver had looked, or by one that branches from it
        if trial.status(info.key) is TrialStatus.FINISHED and trial.keeps_state(info):
            trial.end_checkpoints()  # that worker may have been killed before it did
            return
        checkpoint, start = _prepare_start(trial, info.key, log)
        start |= {"branches_from": info.trunk} if origin is not None and checkpoint is None else {}
        place = {"machine": machine_kind(), "packages": packages()}
        log.append({"event": AttemptEvent.START, "pid": os.getpid(), "code": code_version(), **place, **start})
        log.sync()

        def record_divergence(why: str) -> None:
            log.append({"event": AttemptEvent.DIVERGED, "why": why})
            log.sync()

        checkpoints = trial.checkpoints(info.key, checkpoint or origin)
        checkpoints.remove_unfinished()
        journal = Journal(
            trial.folder,
            held_out=_held_out(info),
            checkpoints=checkpoints,
            resume_at=checkpoint.lines if checkpoint else {METRICS: 0, EVENTS: 0},
            on_divergence=record_divergence,
        )
        try:
            if refused is not None:
                raise refused
            with measured(trial):
                final = load_function(function)(info.config, journal, *_several(workers))
            journal.finish(info.key, final)
            trial.end_checkpoints()
        except KeyboardInterrupt:  # stopped by the user: neither finished nor failed
            raise
        except Diverged as found:  # not raised: Ray would restart the trial, which would diverge again
            print(found, file=sys.stderr)
            journal.fail(info.key, error_report(found), {"step": found.step, "quantity": found.quantity})
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk: the missing result marks the trial unfinished
                traceback.print_exc()
            in_vain = isinstance(error, DataError | TrialRefused)
            with contextlib.suppress(OSError):
                journal.fail(info.key, clean(error_report(error)), refused=in_vain)
            if in_vain and workers.size == 1:
                return
            if isinstance(error, Exception):
                raise _failure(error, clean) from None
            raise
        finally:
            journal.close()
            release_memory()


def _check_code(info: TrialInfo) -> None:
    """Raise TrialFailed if the sources changed since the sweep was prepared: workers import them when they start."""
    if info.code != code_version():
        raise TrialFailed(
            f"the code has changed since the sweep started ({info.code[:12]} → {code_version()[:12]}): restore it and"
            " run the same command again"
        )
    own = own_code(info.config)
    if own and trial_key(info.config.model_dump(mode="json"), info.code, own) != info.key:
        raise TrialFailed(f"the code named by {', '.join(own)} has changed since the sweep started: restore it")


def error_report(error: BaseException) -> str:
    """The traceback, ending with the error's type and the first line of its message.

    That last line is what the driver, the analysis and MLflow show. A traceback itself may end otherwise: messages of
    several lines end with advice, as CUDA's do, or with notes.
    """
    text = "".join(traceback.format_exception(error))
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    summary = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if text.rstrip().endswith(summary) else f"{text.rstrip()}\n\n{summary}\n"


def release_memory() -> None:
    """Return a trial's memory to the system, for the next trial in this process.

    A model and its optimizer hold reference cycles, and glibc keeps freed memory: three trials of SmolLM2 in one
    process reached 12 GB, where one takes 8.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def _failure(error: Exception, clean: Callable[[str], str]) -> TrialFailed:
    """What is raised in its place: it reaches Ray's own files and logs."""
    kind = TrialRefused if isinstance(error, DataError | TrialRefused) else TrialFailed
    return kind(clean(f"{type(error).__name__}: {error}"))


def run_share(trial: TrialRun, function: str, workers: Collective) -> None:
    """Run the same trial as a worker of a rank above 0: only its output goes to disk."""
    info = trial.info()
    _check_code(info)
    clean = partial(redact, variables=variables_in(info.settings))
    output = trial.output_file
    with _output_to(output.with_name(f"{output.stem}-{workers.rank}.log"), clean):
        try:
            load_function(function)(info.config, Discard(), workers)
        except Diverged:  # recorded by rank 0, which all ranks agree with
            return
        except Exception as error:
            traceback.print_exc()
            raise _failure(error, clean) from None
        finally:
            release_memory()


def _prepare_start(trial: TrialRun, key: str, log: LineLog) -> tuple[Checkpoint | None, dict[str, Any]]:
    """The newest sound checkpoint, if any, and fields of the attempt's start record; damage is logged and truncated.

    After a kill the trial continues its journal; one that had ended starts a new one.
    """
    start: dict[str, Any] = {}
    if (result := trial.result()) is not None:
        log.append({"event": AttemptEvent.RESTARTED, "why": result["status"]})
    for reason in trial.damage():
        log.append({"event": AttemptEvent.JOURNAL_DAMAGED, "why": reason})
    log.sync()  # before the journal is changed, so that a kill in between leaves this decision to the next attempt
    trial.truncate_damage()
    checkpoint, rejected = trial.newest_checkpoint(key)
    for reason in rejected:
        log.append({"event": AttemptEvent.CHECKPOINT_REJECTED, "why": reason})
    if checkpoint is None:
        trial.remove_checkpoints()
    else:
        start["resumed_from"] = checkpoint.step
    if trial.continues_journal():
        start["continues"] = True
    trial.remove_result()
    return checkpoint, start


def _several(workers: Collective) -> tuple[Collective, ...]:
    return (workers,) if workers.size > 1 else ()


def load_function(path: str) -> TrialFunction:
    """The function at `module:name`."""
    module, _, name = path.partition(":")
    return cast(TrialFunction, getattr(importlib.import_module(module), name))


def _held_out(info: TrialInfo) -> Callable[[Question], bool] | None:
    if info.config.data.source != "world":
        return None

    def held_out(question: Question) -> bool:
        from harness.tasks.world import load_world

        return load_world().is_held_out_entity(question)

    return held_out


@contextlib.contextmanager
def _output_to(path: Path, clean: Callable[[str], str]) -> Iterator[None]:
    """Redirect stdout and stderr of this process, native code included, to a file; `clean` redacts secrets.

    Output that does not pass through Python is redacted when the block ends.
    """
    streams: tuple[tuple[Any, int], ...] = ((sys.stdout, 1), (sys.stderr, 2))
    saved = [os.dup(number) for _, number in streams]
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for stream, number in streams:
            stream.flush()
            os.dup2(log, number)
        # Ray puts its own objects in place of sys.stdout and sys.stderr
        with (
            open(1, "w", closefd=False, buffering=1) as out,
            open(2, "w", closefd=False, buffering=1) as err,
            contextlib.redirect_stdout(RedactedStream(out, clean)) as shown,
            contextlib.redirect_stderr(RedactedStream(err, clean)) as warned,
        ):
            try:
                yield
            finally:
                shown.flush()
                warned.flush()
    finally:
        for (stream, number), old in zip(streams, saved, strict=True):
            stream.flush()
            os.dup2(old, number)
            os.close(old)
        os.close(log)
        written = path.read_text(encoding="utf-8", errors="surrogateescape")
        if clean(written) != written:
            write_atomically(path, clean(written).encode(errors="surrogateescape"))


class Discard:
    """Sink of workers of a rank above 0: discards everything."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, kind: str, **fields: Any) -> None: ...

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None: ...

    def policy(self, step: int, write: Callable[[Path], None]) -> None: ...

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None: ...

    def resume(self) -> None: ...
