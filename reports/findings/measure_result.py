"""Result type of a measure of FINDINGS.md, and display names of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.compare import Comparison, interval_columns
from analysis.frames import SHARE_RANGE, is_share
from analysis.stats.types import Estimate
from analysis.verdict import ContrastVerdict, Outcome


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


METRIC_NAMES = {
    "eval/em": "EM",
    "eval/em_sampled": "EM of sampled answers",
    "eval/calls": "the number of calls",
    "eval/parse_ok_rate": "the share of well-formed turns",
    "eval/format_ok": "the share of well-formed episodes",
    "eval_sampled/em": "EM of sampled answers",
    "eval_sampled/f1": "F1 of sampled answers",
    "eval_sampled/reward_mean": "reward of sampled answers",
    "eval_sampled/parse_ok_rate": "the share of well-formed turns (sampled answers)",
    "eval_sampled/format_ok": "the share of well-formed episodes (sampled answers)",
    "eval_sampled/lazy": "the share of sampled answers without a call",
    "eval_sampled/operator_diversity": "operator diversity (sampled answers)",
    "eval_sampled/calls": "the number of calls (sampled answers)",
    "eval_sampled/turns": "the number of turns (sampled answers)",
    "eval_sampled/tokens": "the number of tokens (sampled answers)",
    "eval_fault/recovered": "P(right | fault)",
    "eval_fault/effect": "the effect of a fault on EM",
    "eval_prompt_distractor/em": "EM (prompt with a distractor)",
}
"""Metric → its name in a sentence."""


def metric_name(metric: str) -> str:
    return METRIC_NAMES.get(metric, metric)


def metric_outcome(metric: str) -> Outcome:
    return Outcome(metric_name(metric), is_share(metric) or metric == "eval_fault/effect")


def format_level(estimate: Estimate, metric: str) -> str:
    """A metric's mean with its interval, three digits."""
    if estimate.value is None:
        return "–"
    found = interval_columns(estimate, within=SHARE_RANGE if is_share(metric) else None)
    interval = "" if found["low"] == "" else f" [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{estimate.value:.3g}{interval}"
