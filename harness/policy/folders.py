"""Kind of policy in a folder, by its files alone (no model is loaded, torch is not needed)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.tasks.boundary import is_count, is_key, parse_object

PROVENANCE = "provenance.json"
ADAPTER = "adapter"
"""Subfolder of an adapter beside its merged model."""
BASES = "bases"
"""Folder of the models that adapters sit on, in the run's folder."""
MAIN = "main"
"""Revision of a model that is named without one."""
_REVISION = re.compile(r"[\w.][\w./-]{0,199}")
_MAX_STEP = 2**31


def bases_for(export: Path) -> Path:
    """Where an export's base is kept: once for all trials of a run (`<run>/trials/<trial>/policies/<step>`), or beside
    an export that is of none."""
    trials = export.parent.parent.parent
    return (trials.parent if trials.name == "trials" else export.parent) / BASES


def base_of(adapter: Path) -> str:
    """The model that an adapter sits on: as it is named, or in the nearest `bases` above where the run was moved.

    Raises OSError or ValueError when the adapter's settings are not readable or name none.
    """
    named = read_note(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str):
        path = adapter / "adapter_config.json"
        raise ValueError(f"{path}: `base_model_name_or_path` has to be the base model's name or folder")
    if Path(named).is_absolute() and not Path(named).is_dir():
        kept = (above / BASES / Path(named).name for above in adapter.resolve().parents)
        return next((str(place) for place in kept if place.is_dir()), named)
    return named


def base_revision(adapter: Path) -> str:
    """The branch, tag or commit of a base on the hub. Raises OSError, or ValueError when the note is not readable."""
    path = adapter / "adapter_config.json"
    revision = read_note(path).get("revision")
    if revision is None:
        return MAIN
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"{path}: `revision` has to be a branch, tag or commit of the base model")
    return revision


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter in PEFT's format."""
    return (folder / "adapter_config.json").is_file()


def is_model_folder(folder: Path) -> bool:
    """Whether a folder holds a transformers model or an adapter."""
    return (folder / "config.json").is_file() or is_adapter(folder)


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """What the export of a trial's policy noted, None for a folder made by another program.

    Raises ValueError, naming the file, when the note is damaged or its `trial_key` or `step` is none.
    """
    place = folder.parent if folder.name == ADAPTER and not (folder / PROVENANCE).is_file() else folder
    path = place / PROVENANCE
    if not path.is_file():
        return None
    noted = read_note(path)
    key, step = noted.get("trial_key"), noted.get("step")
    if key is not None and not is_key(key):
        raise ValueError(f"{path}: `trial_key` has to be letters and digits")
    if step is not None and not is_count(step, _MAX_STEP):
        raise ValueError(f"{path}: `step` has to be a whole number")
    return noted


def read_note(path: Path) -> dict[str, Any]:
    """The JSON object that another program may have written into `path`. Raises OSError, or ValueError with the file's
    name."""
    try:
        return parse_object(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
