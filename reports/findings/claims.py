"""Parser of claims.yaml: the claims and limitations that FINDINGS.md tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("claims.yaml")


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry of claims.yaml.

    `statement`: the paper's statement or omission. `measures`: (name, settings) in order, by the names of
    `measure_registry.MEASURES`; `registered_contrast` gives the verdict, without it the entry is descriptive.
    `study` None: no study tests the claim. `could_not_tell`: why the design could not have come out either way; the
    contrast is then shown as data, without a verdict.
    """

    title: str
    kind: str
    statement: str
    question: str
    study: str | None
    design: str
    measures: tuple[tuple[str, Mapping[str, Any]], ...]
    changes: str
    could_not_tell: str | None = None

    def __post_init__(self) -> None:
        reason = self.could_not_tell
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            raise TypeError(f"{self.title}: could_not_tell is a reason in words, not {reason!r}")


def read_claims(path: Path = _FILE) -> list[Claim]:
    """Raises KeyError or TypeError for an entry that lacks a part, has one too many or one of the wrong type."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Claim(**{**e, "measures": tuple(_measure(m) for m in e["measures"])}) for e in entries]


def _measure(entry: str | Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    ((name, settings),) = entry.items()
    return name, settings
