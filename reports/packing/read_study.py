"""Reader of a results folder, as the frames that every analysis takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.episode_frames import EPISODE_COLUMNS, GREEDY_SPLIT, TURN_COLUMNS, Episodes
from analysis.frames import Frames
from analysis.preregistration import Registration, check_registration
from analysis.registered_plan import AnalysisPlan
from reports.packing.results_folder import (
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    RESULTS_FOLDER,
    TABLES_FOLDER,
    read_stored_frames,
)


@dataclass(frozen=True)
class Study:
    """`greedy`: the last greedy evaluation, without turns. `tables`: the report's, by name."""

    name: str
    provenance: dict[str, Any]
    frames: Frames
    registration: Registration
    greedy: Episodes
    tables: dict[str, pd.DataFrame]

    @property
    def small(self) -> bool:
        """Whether the run is a small one (`--small`), without evidential value."""
        return bool(self.provenance["mode"] == "small")

    @property
    def plan(self) -> AnalysisPlan:
        return self.registration.plan


def read_study(folder: str | Path) -> Study:
    """Read a folder written by `write_study`. Raises OSError or ValueError for any other."""
    root = Path(folder)
    stored = read_stored_frames(root)
    frames, made = stored.frames, stored.provenance
    owner = frames.trials.set_index("trial")[["arm", "seed"]]
    tables = {p.stem: stored.relabelled(pd.read_csv(p)) for p in sorted((root / TABLES_FOLDER).glob("*.csv"))}
    return Study(
        made["study"], made, frames, check_registration(frames), _episodes(root, owner, list(frames.arms)), tables
    )


def _episodes(root: Path, owner: pd.DataFrame, arms: list[str]) -> Episodes:
    rows = pd.read_parquet(root / QUESTIONS_TABLE).join(owner, on="trial")
    rows["split"] = GREEDY_SPLIT
    rows["arm"] = pd.Categorical(rows["arm"], categories=arms)
    rows = rows.reindex(columns=EPISODE_COLUMNS)
    return Episodes(rows, pd.DataFrame(columns=TURN_COLUMNS), {})


def committed_studies(root: Path = RESULTS_FOLDER) -> dict[str, Study]:
    """Studies with results, by name; a full run replaces a small one."""
    found = [read_study(p.parent) for p in sorted(root.glob(f"*/{PROVENANCE_FILE}"))]
    return {s.name: s for s in sorted(found, key=lambda s: not s.small)}
