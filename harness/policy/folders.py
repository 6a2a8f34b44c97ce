"""What kind of policy a folder holds, told by its files alone (no model is loaded, torch is not needed)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PROVENANCE = "provenance.json"
ADAPTER = "adapter"
"""Subfolder of an adapter beside its merged model."""


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
