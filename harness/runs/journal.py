"""The journal of one trial: its append-only record on disk, from which trackers and reports derive everything.

Files and their schemas: `harness.runs.layout`; line format and damage handling: `harness.runs.jsonl`; reading:
`harness.runs.run.TrialRun`. Apart from time stamps and metrics under `time/`, two runs of a trial on the same machine
write equal lines. Metrics are on disk (fsync) when `metrics` returns, and so is every event before them.

A resumed trial replays the steps after its last checkpoint. Identical lines are not rewritten, so a committed line
never changes (see `LineLog`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from harness.runs.episode_store import write_episodes
from harness.runs.jsonl import (
    LineLog,
    encode_numbers,
    now_ms,
    remove_unfinished,
    seal,
    sync_directory,
    write_atomically,
)
from harness.runs.layout import EPISODES, EVENTS, METRICS, POLICIES, RESULT
from harness.runs.run import TrialRun
from harness.types import Question, Trajectory


class CheckpointStore(Protocol):
    """Where a journal keeps checkpoints: `harness.runs.checkpoint.CheckpointFolder`."""

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None: ...

    def resume(self) -> Mapping[str, Any] | None: ...


class Journal:
    """Writer of a trial's folder; implements `TrialSink`. One writer a folder at a time.

    Opening continues an existing journal: a torn tail is truncated, temporary files of a killed writer are removed.
    Raises OSError when the disk refuses (committed lines stay readable), ValueError when the journal is damaged
    elsewhere than at its end. `held_out` decides whether no training question mentions what a question is about.
    `resume_at`: by file, the number of lines before the replayed ones (default: all); `on_divergence` is called with a
    description when a replayed line differs.
    """

    def __init__(
        self,
        directory: str | Path,
        clock: Callable[[], int] = now_ms,
        held_out: Callable[[Question], bool] | None = None,
        checkpoints: CheckpointStore | None = None,
        resume_at: Mapping[str, int] | None = None,
        on_divergence: Callable[[str], None] | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._held_out, self._checkpoints = held_out, checkpoints
        self.directory.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.directory, RESULT)
        remove_unfinished(self.directory / EPISODES)
        remove_unfinished(self.directory / POLICIES)
        self._clock = clock
        start = resume_at or {}
        self._metrics = LineLog(self.directory / METRICS, clock, start.get(METRICS), on_divergence)
        try:
            self._events = LineLog(self.directory / EVENTS, clock, start.get(EVENTS), on_divergence)
        except BaseException:
            self._metrics.close()
            raise

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Record numbers of a step; durable on return."""
        self._events.sync()
        self._metrics.append({"step": int(step), "values": encode_numbers(values)})
        self._metrics.sync()

    def event(self, kind: str, **fields: Any) -> None:
        """Record an event. Fields are JSON values; durable with the next metrics, or on close."""
        self._events.append({"kind": kind, "fields": fields})

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None:
        """Write the episodes of a (step, split) as one Parquet file, atomically, replacing an earlier one."""
        write_episodes(self.directory / EPISODES, step, split, trajectories, self._held_out)

    def policy(self, step: int, write: Callable[[Path], None]) -> None:
        """Keep a policy: `write` fills a temporary folder, which then atomically takes its place."""
        folder = TrialRun(self.directory).policy_path(step)
        staging = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            write(staging)
            shutil.rmtree(folder, ignore_errors=True)
            staging.replace(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        sync_directory(folder.parent)

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep the training state with the journal's present length; durable on return. Raises OSError."""
        if self._checkpoints is not None:
            self._events.sync()
            self._metrics.sync()
            self._checkpoints.write(step, {METRICS: self._metrics.length, EVENTS: self._events.length}, state)

    def resume(self) -> Mapping[str, Any] | None:
        """The training state to resume from; None: start from the beginning."""
        return None if self._checkpoints is None else self._checkpoints.resume()

    def finish(self, key: str, final: Mapping[str, float]) -> None:
        """Mark the trial finished. Nothing is written after."""
        self._metrics.drop_expected()
        self._events.drop_expected()
        self._end({"status": "finished", "key": key, "final": encode_numbers(final)})

    def fail(self, key: str, error: str, diverged: Mapping[str, Any] | None = None, *, refused: bool = False) -> None:
        """Mark the trial failed; `error` is the traceback, whose last line is shown first.

        `diverged`: step and quantity, where a quantity of training was not finite. `refused`: another attempt of this
        sweep would fail alike.
        """
        more: dict[str, Any] = {} if diverged is None else {"diverged": dict(diverged)}
        more |= {"refused": True} if refused else {}
        self._end({"status": "failed", "key": key, "error": error, **more})

    def _end(self, result: dict[str, Any]) -> None:
        self.close()
        body = {**result, "ts": self._clock()}
        write_atomically(self.directory / RESULT, (seal(body) + "\n").encode())

    def close(self) -> None:
        try:
            self._metrics.close()
        finally:
            self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()
