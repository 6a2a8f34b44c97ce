"""What runs in a worker process: one trial from its folder, its output and its end on disk whatever happens."""

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
from typing import Any, cast

from harness.config import code_version
from harness.distributed.collective import ALONE, Collective
from harness.redact import RedactedStream, redact, variables_in
from harness.runs.checkpoint import Checkpoint, Checkpoints, newest_checkpoint
from harness.runs.host_info import machine_kind, packages
from harness.runs.journal import EVENTS, METRICS, RESULT, Journal, damaged, mend, read_result, remove_checkpoints
from harness.runs.jsonl import LineLog, write_atomically
from harness.runs.layout import (
    ATTEMPTS,
    DAMAGED,
    DIFFERS,
    ENDED,
    OUTPUT,
    START,
    State,
    TrialInfo,
    goes_on,
    locked,
    read_info,
    state_of,
)
from harness.sweep.resource_monitor import measured
from harness.types import Question, Trajectory

TrialFunction = Callable[..., dict[str, float]]
"""Takes a configuration, a sink, and its workers if there are several."""

TRIAL = "harness.training.train:run_trial"

PATIENCE_S = 60.0
"""How long to wait for a killed driver's worker to let go of the folder."""


class TrialFailed(Exception):
    """What a trial raised, in words without secrets; the traceback is in its folder."""


def run_one(folder: Path, function: str, workers: Collective = ALONE) -> None:
    """Run the trial of a folder, unless it has finished, from its last checkpoint if it has one.

    `function` is `module:name`.

    Raises TrialFailed with what the trial raised, in words, or where this process has another version of the code than
    the trial is of. The first of several `workers` does this, the others `run_share`.
    """
    info = read_info(folder)
    _check_code(info)
    clean = partial(redact, variables=variables_in(info.settings))
    with locked(folder / ".lock", PATIENCE_S), _output_to(folder / OUTPUT, clean), LineLog(folder / ATTEMPTS) as log:
        if state_of(folder, info.key) is State.FINISHED:  # by a killed driver's worker, after this driver had looked
            remove_checkpoints(folder)  # it may have been killed amid that
            return
        checkpoint, begun = _go_back(folder, info.key, log)
        place = {"machine": machine_kind(), "packages": packages()}
        log.append({"event": START, "pid": os.getpid(), "code": code_version(), **place, **begun})
        log.sync()

        def differs(why: str) -> None:
            log.append({"event": DIFFERS, "why": why})
            log.sync()

        journal = Journal(
            folder,
            held_out=_held_out(info),
            checkpoints=Checkpoints(folder, info.key, checkpoint),
            resume_at=checkpoint.lines if checkpoint else {METRICS: 0, EVENTS: 0},
            differs=differs,
        )
        try:
            with measured(folder):
                final = load_function(function)(info.config, journal, *_several(workers))
            journal.finish(info.key, final)
            remove_checkpoints(folder)
        except KeyboardInterrupt:  # stopped by the user: not finished, and not failed
            raise
        except BaseException as error:
            with contextlib.suppress(OSError):  # a full disk: the missing result says unfinished
                traceback.print_exc()
            with contextlib.suppress(OSError):
                journal.fail(info.key, clean(account(error)))
            if isinstance(error, Exception):  # what is raised reaches Ray's own files and logs
                raise TrialFailed(clean(f"{type(error).__name__}: {error}")) from None
            raise
        finally:
            journal.close()
            release_memory()


def _check_code(info: TrialInfo) -> None:
    """A worker that is started amid a sweep imports the sources as they are by then."""
    if info.code != code_version():
        raise TrialFailed(
            f"the code was changed after the sweep began ({info.code[:12]} → {code_version()[:12]}): undo that and "
            "give the same command again"
        )


def account(error: BaseException) -> str:
    """The traceback, ending with the line that says what went wrong: the error's type and its message's first line.

    That line is what the driver, the analysis and MLflow's reader take from it. A traceback itself may end otherwise:
    a message of many lines ends with advice, as CUDA's do, or with notes.
    """
    text = "".join(traceback.format_exception(error))
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    headline = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return text if text.rstrip().endswith(headline) else f"{text.rstrip()}\n\n{headline}\n"


def release_memory() -> None:
    """Give a trial's memory back to the system, for the next one in this process.

    A model and its optimizer hold reference cycles, and what glibc has freed it keeps: three trials of SmolLM2 in one
    process came to 12 GB, where one takes 8.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)


def run_share(folder: Path, function: str, workers: Collective) -> None:
    """What the other workers of a trial do: the same work, but nothing goes to disk except what they print."""
    info = read_info(folder)
    _check_code(info)
    clean = partial(redact, variables=variables_in(info.settings))
    with _output_to(folder / f"{Path(OUTPUT).stem}-{workers.rank}.log", clean):
        try:
            load_function(function)(info.config, Discard(), workers)
        except Exception as error:
            traceback.print_exc()
            raise TrialFailed(clean(f"{type(error).__name__}: {error}")) from None
        finally:
            release_memory()


def _go_back(folder: Path, key: str, log: LineLog) -> tuple[Checkpoint | None, dict[str, Any]]:
    """The newest sound checkpoint, if any, and what to say of the start. What is damaged is told in the log.

    After a kill the trial continues its journal; one that had ended writes it anew.
    """
    begun: dict[str, Any] = {}
    if (result := read_result(folder)) is not None:
        log.append({"event": ENDED, "why": result["status"]})
    for trouble in damaged(folder):
        log.append({"event": DAMAGED, "why": trouble})
    log.sync()  # before the journal is touched: whoever is killed in between leaves this to the next attempt
    mend(folder)
    checkpoint, troubles = newest_checkpoint(folder, key)
    for trouble in troubles:
        log.append({"event": "checkpoint not used", "why": trouble})
    if checkpoint is None:
        remove_checkpoints(folder)
    else:
        begun["resumed_from"] = checkpoint.step
    if goes_on(folder):
        begun["continues"] = True
    (folder / RESULT).unlink(missing_ok=True)
    return checkpoint, begun


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
    """Send what this process prints, also from native code, to a file; `clean` strikes secrets out of it.

    What does not pass through Python is cleaned when the block ends.
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
    """The sink of all workers but the first."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def event(self, kind: str, **fields: Any) -> None: ...

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None: ...

    def policy(self, step: int, write: Callable[[Path], None]) -> None: ...

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None: ...

    def resume(self) -> None: ...
