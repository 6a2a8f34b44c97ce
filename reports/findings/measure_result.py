"""Result type of a measure of FINDINGS.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.compare import Comparison, interval_columns
from analysis.frames import SHARE_RANGE, is_share
from analysis.stats.types import Estimate
from analysis.verdict import ContrastVerdict


@dataclass(frozen=True)
class MeasureResult:
    """`table` holds display text under a heading, or None; `notes` stand under it, `sentences` in the verdict.

    `short`: its number in the overview table, where it is the registered contrast or the entry has none; `remark`: an
    addition to the registered number there. Of the registered contrast: `verdicts`, one a stratum, whose rows come
    first in `rows`; `equivalence_p`, their TOST p before correction over strata. `tests`: the sentences rest on tests.
    """

    heading: str
    table: pd.DataFrame | None = None
    sentences: Sequence[str] = ()
    verdicts: Sequence[ContrastVerdict] = ()
    short: str = ""
    role: str = "exploratory"
    rows: Sequence[Comparison] = field(default=(), repr=False)
    notes: Sequence[str] = ()
    remark: str = ""
    equivalence_p: Sequence[float | None] = ()
    tests: bool = False


Measure = Callable[..., MeasureResult]
"""Maps a study (pooled: several) and the settings of claims.yaml to a result."""


def by_name(*measures: Measure) -> Mapping[str, Measure]:
    """Measures by the name of their function, which claims.yaml uses."""
    return {measure.__name__: measure for measure in measures}


def format_level(estimate: Estimate, metric: str) -> str:
    """A metric's mean with its interval, three digits."""
    if estimate.value is None:
        return "–"
    found = interval_columns(estimate, within=SHARE_RANGE if is_share(metric) else None)
    interval = "" if found["low"] == "" else f" [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{estimate.value:.3g}{interval}"
