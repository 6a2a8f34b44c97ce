"""Kind of policy in a folder, by its files alone (no model is loaded, torch is not needed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROVENANCE = "provenance.json"
ADAPTER = "adapter"
"""Subfolder of an adapter beside its merged model."""
BASES = "bases"
"""Folder of the models that adapters sit on, in the run's folder."""


def bases_for(export: Path) -> Path:
    """Where an export's base is kept: once for all trials of a run (`<run>/trials/<trial>/policies/<step>`), or beside
    an export that is of none."""
    trials = export.parent.parent.parent
    return (trials.parent if trials.name == "trials" else export.parent) / BASES


def base_of(adapter: Path) -> str:
    """The model that an adapter sits on: as it is named, or in the nearest `bases` above where the run was moved.

    Raises OSError, ValueError or KeyError when the adapter's settings are not readable.
    """
    named = str(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"])
    if Path(named).is_absolute() and not Path(named).is_dir():
        kept = (above / BASES / Path(named).name for above in adapter.resolve().parents)
        return next((str(place) for place in kept if place.is_dir()), named)
    return named


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's format."""
    return (folder / "adapter_config.json").is_file()


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a transformers model or an adapter."""
    return (folder / "config.json").is_file() or is_adapter(folder)


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """What the export of a trial's policy noted, None for a folder made by another program.

    Raises ValueError when the note is damaged.
    """
    place = folder.parent if folder.name == ADAPTER and not (folder / PROVENANCE).is_file() else folder
    path = place / PROVENANCE
    if not path.is_file():
        return None
    noted = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(noted, dict):
        raise ValueError(f"{path}: a mapping is needed")
    return noted
