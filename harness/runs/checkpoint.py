"""Checkpoints of an unfinished trial, from which training resumes after a kill.

    <trial>/checkpoints/step-000010.pt     tensors and plain values, as torch.save writes them
    <trial>/checkpoints/step-000010.json   written after it: step, trial key, journal lines, size and SHA-256 of the .pt

A checkpoint exists when its manifest does, and is sound when the checksum matches; so a kill at any moment leaves the
one before. The last `KEPT` stay. Reading unpickles tensors and plain values only.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from harness.runs.jsonl import remove_unfinished, seal, sync_directory, unseal, write_atomically

KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A sound checkpoint, made when the journal files had `lines` lines (by file name)."""

    path: Path
    step: int
    lines: Mapping[str, int]

    def state(self) -> dict[str, Any]:
        """The saved state, on CPU."""
        loaded: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return loaded


@dataclass(frozen=True, slots=True)
class CheckpointFolder:
    """The checkpoints of the trial `key`. `resume_from`: the one that this attempt of the trial starts with."""

    folder: Path
    key: str
    resume_from: Checkpoint | None = None

    def write(self, step: int, lines: Mapping[str, int], state: Mapping[str, Any], kept: int = KEPT) -> None:
        """Save `state` (tensors, numbers, text, and lists, tuples, dictionaries of them); durable on return.

        Raises OSError; earlier checkpoints then stay as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:06d}.pt"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as handle:
                try:
                    torch.save(dict(state), handle)
                except RuntimeError as error:  # torch's report of a failed write
                    handle.flush()  # raises the disk's own error, if there is one
                    raise OSError(f"{path}: {error}") from error
                handle.flush()
                os.fsync(handle.fileno())
            manifest = {"step": step, "key": self.key, "lines": dict(lines), "bytes": temporary.stat().st_size,
                        "sha256": _sha256(temporary)}  # fmt: skip
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(self.folder)
        write_atomically(path.with_suffix(".json"), (seal(manifest) + "\n").encode())
        for old in sorted(self.folder.glob("step-*.json"))[:-kept]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)

    def newest(self, journal_lines: Mapping[str, int]) -> tuple[Checkpoint | None, list[str]]:
        """The newest sound checkpoint within the journal's `journal_lines`, and why newer ones are rejected."""
        rejected: list[str] = []
        for manifest in sorted(self.folder.glob("step-*.json"), reverse=True):
            record = unseal(manifest.read_bytes())
            reason = self._rejection(manifest, record, journal_lines)
            if not reason and record is not None:
                return Checkpoint(manifest.with_suffix(".pt"), record["step"], record["lines"]), rejected
            rejected.append(f"{manifest.stem}: {reason}")
        return None, rejected

    def resume(self) -> dict[str, Any] | None:
        """The state of `resume_from`."""
        return None if self.resume_from is None else self.resume_from.state()

    def remove_unfinished(self) -> None:
        """Remove temporary files of killed writers; for the trial's only writer."""
        remove_unfinished(self.folder)

    def _rejection(self, manifest: Path, record: dict[str, Any] | None, journal_lines: Mapping[str, int]) -> str:
        path = manifest.with_suffix(".pt")
        if record is None:
            return "its manifest is damaged"
        if record["key"] != self.key:
            return "it belongs to another trial"
        if any(journal_lines[name] < n for name, n in record["lines"].items()):
            return "the journal ends before it"
        if not path.exists() or path.stat().st_size != record["bytes"]:
            return "it is truncated"
        return "" if _sha256(path) == record["sha256"] else "its checksum does not match"


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
