"""Records of a trial's folder: status, identity, a line of metrics."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, NamedTuple

from harness.config import TrialConfig
from harness.tasks.boundary import is_key, parse_object


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

    label: str = ""
    """The arm's; empty in folders of earlier versions and of evaluations."""
    trunk: str = ""
    """Folder name, beside this one, of the trial that this one branches from; empty without a branch."""

    @property
    def arm(self) -> str:
        """The label, or the name without its seed: trials of one arm differ in nothing else."""
        return self.label or self.name.rpartition("seed")[0].rstrip("_") or "all"

    @property
    def config(self) -> TrialConfig:
        """Raises ValueError for settings of another version of the code."""
        return TrialConfig.model_validate_json(json.dumps(self.settings))


def parse_trial_info(data: bytes) -> TrialInfo:
    """The content of a `trial.json`, which may be another person's. Raises ValueError: one line."""
    found = parse_object(data)
    if "config" in found:
        found["settings"] = found.pop("config")
    absent = [name for name in ("key", "name", "axes", "labels", "seed", "code", "settings") if name not in found]
    kinds = {"axes": dict, "labels": dict, "settings": dict, "seed": int}
    known = {field.name: kinds.get(field.name, str) for field in fields(TrialInfo)}
    odd = [name for name, value in found.items() if name not in known or not isinstance(value, known[name])]
    if absent or odd or not all(isinstance(label, str) for label in found["labels"].values()):
        shown = ", ".join(f"`{'config' if name == 'settings' else name}`" for name in (absent or odd or ["labels"]))
        raise ValueError(f"does not describe a trial: {shown[:200]} {'missing' if absent else 'of another kind'}")
    if not is_key(found["key"]):
        raise ValueError("does not describe a trial: `key` has to be letters and digits")
    return TrialInfo(**found)
