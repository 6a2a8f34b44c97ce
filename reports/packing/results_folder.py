"""Files of a study's results folder, and the reader of its metrics alone. Imports neither figures nor episodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.frames import Arm, Frames, metrics_frame, trials_frame
from harness.config.arm_names import arm_labels

PROVENANCE_FILE, SWEEP_COPY, TRIALS_TABLE, METRICS_TABLE, QUESTIONS_TABLE = (
    "provenance.json", "sweep.yaml", "trials.csv", "metrics.parquet", "questions.parquet",
)  # fmt: skip
REPORT_PAGE, TABLES_FOLDER = "report.html", "tables"

RESULTS_FOLDER = Path(__file__).resolve().parents[1] / "results"
"""Folder of the committed results; a wheel has none."""


@dataclass(frozen=True)
class StoredFrames:
    """A stored study's frames, with the record of its runs. `labels`: of arms as they were stored → as they are."""

    frames: Frames
    provenance: dict[str, Any]
    labels: dict[str, str]

    def relabelled(self, table: pd.DataFrame) -> pd.DataFrame:
        """A stored table with the present labels, in its contrasts too."""
        words = table.select_dtypes(exclude="number").columns
        return table.assign(**{name: [self._relabelled(cell) for cell in table[name]] for name in words})

    def _relabelled(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        joint = next((mark for mark in (" − ", " > ") if mark in cell), None)
        parts = cell.split(joint) if joint else [cell]
        return (joint or "").join(self.labels.get(part, part) for part in parts)


def read_sweep_copy(root: Path) -> dict[str, Any]:
    """The sweep of a results folder, as it ran."""
    sweep: dict[str, Any] = yaml.safe_load((root / SWEEP_COPY).read_text(encoding="utf-8"))
    return sweep


def read_stored_frames(root: Path) -> StoredFrames:
    """Frames of a folder written by `write_study`. Raises OSError or ValueError for any other."""
    made = json.loads((root / PROVENANCE_FILE).read_text(encoding="utf-8"))
    sweep = read_sweep_copy(root)
    # studies are stored with the labels of their time; a label is a name, and the settings identify the arm
    new = arm_labels([a["settings"] for a in made["arms"]], sweep.get("labels"))
    labels = {a["label"]: label for a, label in zip(made["arms"], new, strict=True)}
    trials = trials_frame(pd.read_csv(root / TRIALS_TABLE, keep_default_na=False).to_dict("records"))
    trials["arm"] = trials["arm"].map(labels)
    owner = trials.set_index("trial")[["arm", "seed"]]
    metrics = pd.read_parquet(root / METRICS_TABLE).astype({"trial": str, "metric": str})
    metrics = metrics.join(owner, on="trial")
    arms = {labels[a["label"]]: Arm(labels[a["label"]], a["settings"], a["config_hash"]) for a in made["arms"]}
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
    return StoredFrames(frames, made, labels)
