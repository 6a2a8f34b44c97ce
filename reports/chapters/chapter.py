"""A chapter of a report: text, figures and tables on one research question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.compare import Comparison, comparison_table, format_p
from analysis.stats.regression import Fit
from analysis.stats.types import DegenerateInput
from reports.figure_style import Figure
from reports.tables import Table, display_frame


@dataclass
class Chapter:
    """A chapter. `role` is confirmatory or exploratory, shown beside its title; `stamp` ends its tables' captions.

    `from_episodes`: its tables are computed from whole episodes, which are not stored, so a study's results keep them.
    """

    name: str
    title: str
    role: str = "exploratory"
    stamp: str = ""
    from_episodes: bool = False
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def figure(self, make: Callable[[], Figure]) -> None:
        """Add a figure, or the reason of the DegenerateInput that its drawing raises."""
        try:
            self.figures.append(make())
        except DegenerateInput as reason:
            self.add_sentence(str(reason))

    def table(self, name: str, title: str, frame: pd.DataFrame, caption: str = "", **formats: str) -> None:
        """Add a table of a frame's display text; nothing for an empty frame. Rules where the first column changes."""
        if len(frame):
            first = frame.iloc[:, 0].astype(str).tolist()
            starts = [i for i in range(1, len(first)) if first[i] != first[i - 1]]
            rules = starts if 2 * (len(starts) + 1) <= len(first) else []
            text = f"{caption} {self.stamp}".strip()
            self.tables.append(Table(name, title, display_frame(frame, formats), text, frame, rules=tuple(rules)))

    def exploratory_contrasts(
        self, name: str, title: str, rows: Sequence[Comparison], caption: str, group: str = "suite", **formats: str
    ) -> None:
        """Add a table of exploratory comparisons, without the columns that the caption states for all rows."""
        dropped = dict.fromkeys(("interval", "test", "role", "p_equivalence"), "drop")
        self.table(name, title, comparison_table(rows, group), caption, **dropped, **formats)

    def add_sentence(self, sentence: str) -> None:
        """Add a sentence, its first letter a capital and a full stop at its end."""
        self.text.append(f"{sentence[0].upper()}{sentence[1:].rstrip('.')}.")


def regression_sentence(fit: Fit, what: str) -> str:
    """The last coefficient of a regression in words, or why there is none."""
    if not fit.coefficients:
        return f"Regression of {what}: {fit.note} ({fit.method})."
    c = fit.coefficients[-1]
    return (
        f"Regression of {what}: {c.name} {c.value:+.3f} [{c.interval.low:+.3f}, {c.interval.high:+.3f}], "
        f"p {format_p(c.p)} ({fit.method}); exploratory."
    )
