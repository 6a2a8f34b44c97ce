"""How to run a sweep: the options of its command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.sweep.worker import TRIAL

OUT = Path("runs")


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
    """Set trials of another code version aside and run them again."""
    pilot: Path | None = None
    """Folder of earlier data that a dry run evaluates the plan's checks on."""
    prepare: bool = False
    """Create the trials' folders and run none, see `harness.sweep.run_trials`."""
