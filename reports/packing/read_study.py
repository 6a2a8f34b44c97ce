"""Reader of a results folder, as the frames that every analysis takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.episode_frames import EPISODE_COLUMNS, GREEDY_SPLIT, TURN_COLUMNS, Episodes
from analysis.frames import Arm, Frames, metrics_frame, trials_frame
from analysis.preregistration import Registration, check_registration
from analysis.registered_plan import AnalysisPlan
from reports.packing.write_study import (
    METRICS_TABLE,
    PROVENANCE_FILE,
    QUESTIONS_TABLE,
    SWEEP_COPY,
    TABLES_FOLDER,
    TRIALS_TABLE,
)

RESULTS_FOLDER = Path(__file__).resolve().parents[1] / "results"
"""Folder of the committed results."""


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
    made = json.loads((root / PROVENANCE_FILE).read_text(encoding="utf-8"))
    sweep = yaml.safe_load((root / SWEEP_COPY).read_text(encoding="utf-8"))
    trials = trials_frame(pd.read_csv(root / TRIALS_TABLE, keep_default_na=False).to_dict("records"))
    owner = trials.set_index("trial")[["arm", "seed"]]
    metrics = pd.read_parquet(root / METRICS_TABLE).astype({"trial": str, "metric": str})
    metrics = metrics.join(owner, on="trial")
    arms = {a["label"]: Arm(a["label"], a["settings"], a["config_hash"]) for a in made["arms"]}
    frames = Frames(
        name=str(sweep["name"]),
        config=sweep,
        trials=trials,
        metrics=metrics_frame(metrics.to_dict("records")),
        arms=arms,
        questions=made["questions"],
        promises=frozenset({made["preregistration"]} - {None}),
        codes=frozenset(made["codes"]),
    )
    tables = {p.stem: pd.read_csv(p) for p in sorted((root / TABLES_FOLDER).glob("*.csv"))}
    return Study(made["study"], made, frames, check_registration(frames), _episodes(root, owner, list(arms)), tables)


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
