"""Result of a design check, and its renderings as a sentence and as a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

COULD_NOT_TELL = "design could not tell"
"""Role and verdict of a registered contrast one of whose design checks fails."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check: what was required, what was observed (None: not measured) and whether it holds."""

    required: str
    observed: float | None
    shown: str
    holds: bool

    @property
    def sentence(self) -> str:
        """The result as one sentence, with the number; of a failed check the verdict."""
        opening = "Required" if self.holds else "The design could not tell"
        return f"{opening}: {self.required}; observed {self.shown}."


def failed(results: Iterable[CheckResult]) -> list[CheckResult]:
    """Checks that do not hold."""
    return [r for r in results if not r.holds]


def check_table(results: Iterable[CheckResult]) -> pd.DataFrame:
    """One row a check: required, observed, holds."""
    rows = [(r.required, r.shown, "yes" if r.holds else "no") for r in results]
    return pd.DataFrame(rows, columns=["required", "observed", "holds"])
