"""A chapter of a report: text, figures and tables of one question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd

from analysis.compare import format_p
from analysis.stats.regression import Fit
from analysis.stats.results import DegenerateInput
from reports.style import Figure
from reports.tables import Table, shown


@dataclass
class Section:
    """A chapter. `role` is confirmatory or exploratory, shown beside its title."""

    name: str
    title: str
    role: str = "exploratory"
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def figure(self, make: Callable[[], Figure]) -> None:
        """Add a figure, or the reason why there is none."""
        try:
            self.figures.append(make())
        except DegenerateInput as reason:
            self.text.append(f"{str(reason)[0].upper()}{str(reason)[1:]}.")

    def table(self, name: str, title: str, frame: pd.DataFrame, caption: str = "", **formats: str) -> None:
        """Add a table of a frame's display text; nothing for an empty frame."""
        if len(frame):
            self.tables.append(Table(name, title, shown(frame, formats), caption, frame))


def fit_sentence(fit: Fit, what: str) -> str:
    """The last coefficient of a regression in words, or why there is none."""
    if not fit.coefficients:
        return f"Regression of {what}: {fit.note} ({fit.method})."
    c = fit.coefficients[-1]
    return (
        f"Regression of {what}: {c.name} {c.value:+.3f} [{c.interval.low:+.3f}, {c.interval.high:+.3f}], "
        f"p {format_p(c.p)} ({fit.method}); exploratory."
    )
