"""Checkpoints inside a trial: what training goes on from after a kill, or the proof that there is none.

    <trial>/checkpoints/step-000010.pt     tensors and plain values, as torch.save writes them
    <trial>/checkpoints/step-000010.json   written after it: step, trial key, journal lines, size and SHA-256 of the .pt

A checkpoint exists when its manifest does, and is sound when the checksum fits; so a kill at any moment leaves the one
before. The last `KEPT` stay. Reading unpickles tensors and plain values only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.runs.journal import CHECKPOINTS, EVENTS, METRICS
from harness.runs.jsonl import read_lines, remove_unfinished, seal, sync_directory, unseal, write_atomically

KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A sound one: `lines` of each journal file were written when it was made."""

    path: Path
    step: int
    lines: Mapping[str, int]

    def state(self) -> dict[str, Any]:
        """What was saved, on CPU."""
        loaded: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return loaded


def write_checkpoint(
    trial: Path, key: str, step: int, lines: Mapping[str, int], state: Mapping[str, Any], kept: int = KEPT
) -> None:
    """Save `state` (tensors, numbers, text, and lists, tuples, dictionaries of them); durable on return.

    Raises OSError; what was there before then stays as it was.
    """
    folder = trial / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.pt"
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            try:
                torch.save(dict(state), handle)
            except RuntimeError as error:  # how torch says that its file could not take the bytes
                handle.flush()  # raises what the disk said, if it was the disk
                raise OSError(f"{path}: {error}") from error
            handle.flush()
            os.fsync(handle.fileno())
        manifest = {"step": step, "key": key, "lines": dict(lines), "bytes": temporary.stat().st_size,
                    "sha256": _digest(temporary)}  # fmt: skip
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(folder)
    write_atomically(path.with_suffix(".json"), (seal(manifest) + "\n").encode())
    for old in sorted(folder.glob("step-*.json"))[:-kept]:
        old.unlink()
        old.with_suffix(".pt").unlink(missing_ok=True)


def newest_checkpoint(trial: Path, key: str) -> tuple[Checkpoint | None, list[str]]:
    """The newest sound checkpoint of the trial `key` that its journal reaches, and what is wrong with newer ones."""
    sound = {}
    for name in (METRICS, EVENTS):
        found = read_lines(trial / name)
        sound[name] = found.damage[0].line - 1 if found.damage else len(found.records)
    troubles: list[str] = []
    for manifest in sorted((trial / CHECKPOINTS).glob("step-*.json"), reverse=True):
        record = unseal(manifest.read_bytes())
        trouble = _trouble(manifest, record, key, sound)
        if not trouble and record is not None:
            return Checkpoint(manifest.with_suffix(".pt"), record["step"], record["lines"]), troubles
        troubles.append(f"{manifest.stem}: {trouble}")
    return None, troubles


class Checkpoints:
    """A trial's checkpoints, for its journal. `found`: what it goes on from.

    What a killed writer had only begun is removed.
    """

    def __init__(self, trial: Path, key: str, found: Checkpoint | None) -> None:
        remove_unfinished(trial / CHECKPOINTS)
        self._trial, self._key, self._found = trial, key, found

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any]) -> None:
        write_checkpoint(self._trial, self._key, step, lines, state)

    def resume(self) -> dict[str, Any] | None:
        return None if self._found is None else self._found.state()


def _trouble(manifest: Path, record: dict[str, Any] | None, key: str, sound: Mapping[str, int]) -> str:
    path = manifest.with_suffix(".pt")
    if record is None:
        return "the manifest is damaged"
    if record["key"] != key:
        return "it is another trial's"
    if any(sound[name] < n for name, n in record["lines"].items()):
        return "the journal does not reach it"
    if not path.exists() or path.stat().st_size != record["bytes"]:
        return "it is truncated"
    return "" if _digest(path) == record["sha256"] else "its checksum does not match"


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
