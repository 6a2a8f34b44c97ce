"""The one in-memory `TrialSink` of the tests; it derives from the protocol, so a new method of a sink reaches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.training.train import TrialSink
from harness.types import Trajectory


class Memory(TrialSink):
    """Keeps metrics (times left out), the episodes by (step, split) and the steps whose policy was to be kept."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []
        self.played: dict[tuple[int, str], list[Trajectory]] = {}
        self.kept: list[int] = []

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self.values.append({"step": step} | {k: v for k, v in values.items() if not k.startswith("time/")})

    def event(self, kind: str, **fields: Any) -> None: ...

    def episodes(self, step: int, split: str, trajectories: Sequence[Trajectory]) -> None:
        self.played[step, split] = list(trajectories)

    def policy(self, step: int, write: Callable[[Path], None]) -> None:
        self.kept.append(step)

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None: ...

    def resume(self) -> None: ...
