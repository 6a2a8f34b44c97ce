"""Records of a trial's folder: status, identity, a line of metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from harness.config import TrialConfig


class TrialStatus(StrEnum):
    """Status of a trial by what is on disk; the values are shown to people."""

    WAITING = "waiting"
    RUNNING = "running"  # or killed: only the driver that started it can tell
    FINISHED = "finished"
    FAILED = "failed"


class MetricsLine(NamedTuple):
    """Values recorded at a training step (of system metrics: at a line), at `ts` milliseconds since 1970."""

    step: int
    values: dict[str, float]
    ts: int


@dataclass(frozen=True, slots=True)
class TrialInfo:
    """`trial.json`: what identifies a trial, for readers that have only the folder."""

    key: str
    name: str
    axes: dict[str, Any]
    labels: dict[str, str]
    seed: int
    code: str
    settings: dict[str, Any]
    """The configuration as written, perhaps by an older version of the code."""
    preregistration: str = ""
    revision: str = ""
    """Git revision of the sources when the trial started; empty when unknown."""

    @property
    def arm(self) -> str:
        """The name without its seed: trials of one arm differ in nothing else."""
        return self.name.rpartition("seed")[0].rstrip("_") or "all"

    @property
    def config(self) -> TrialConfig:
        """Raises ValueError for settings of another version of the code."""
        return TrialConfig.model_validate_json(json.dumps(self.settings))
