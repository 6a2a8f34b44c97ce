"""Parser of claims.yaml: the claims and limitations that FINDINGS.md tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from harness.config.requirements import Requirement

_FILE = Path(__file__).with_name("claims.yaml")

Requires = tuple[Mapping[str, Any], ...]
"""Design checks as settings: kind and bounds."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One entry of claims.yaml.

    `statement`: the paper's statement or omission. `measures`: (name, settings) in order, by the names of
    `measure_registry.MEASURES`; `registered_contrast` gives the verdict, without it the entry is descriptive.
    `study` None: no study tests the claim. `requires`: design checks set after the study ran, beside those of its plan;
    where one fails, the contrast is shown as data, without a verdict. `could_not_tell`: what the committed data cannot
    compute about why, shown then under the numbers of the checks.
    """

    title: str
    kind: str
    statement: str
    question: str
    study: str | None
    design: str
    measures: tuple[tuple[str, Mapping[str, Any]], ...]
    changes: str
    requires: Requires = ()
    could_not_tell: str | None = None

    def __post_init__(self) -> None:
        reason = self.could_not_tell
        if reason is not None and not (isinstance(reason, str) and reason.strip()):
            raise TypeError(f"{self.title}: could_not_tell is a reason in words, not {reason!r}")
        if reason is not None and not self.requires:
            raise TypeError(f"{self.title}: could_not_tell needs a check under requires: words alone withdraw nothing")


def read_claims(path: Path = _FILE) -> list[Claim]:
    """Raises KeyError or TypeError for an entry that lacks a part, has one too many or one of the wrong type, and
    ValueError for a check that does not exist."""
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [
        Claim(
            **{
                **e,
                "measures": tuple(_measure(m) for m in e["measures"]),
                "requires": validated_requirements(e.get("requires", ())),
            }
        )
        for e in entries
    ]


def validated_requirements(entries: Sequence[Mapping[str, Any]]) -> Requires:
    """Checks by the schema of `analysis.requires`, with its defaults. Raises ValueError."""
    checks = TypeAdapter(tuple[Requirement, ...]).validate_python(tuple(entries))
    return tuple(check.model_dump() for check in checks)


def _measure(entry: str | Mapping[str, Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    ((name, settings),) = entry.items()
    return name, settings
