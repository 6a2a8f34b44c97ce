"""Factorial designs: main effects pooled over the cells of the other factors, and interactions with their precision.

A contrast of `registered_plan.contrasts` holds two arms that differ in one axis; those of one axis and pair of values
are its cells, one for each combination of the other axes that ran with both. The simple contrasts answer for one cell
each; a main effect is their mean, with the seeds of all cells behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd

from analysis.compare import format_p, interval_columns, number_or_blank
from analysis.frames import Frames
from analysis.outcome import Outcome, outcome_of
from analysis.registered_plan import AnalysisPlan, ArmContrast, contrasts
from analysis.seed_outcomes import final_step, outcome_values
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.pooled_effects import interaction, main_effect
from analysis.stats.types import DegenerateInput, Estimate, Test


@dataclass(frozen=True, slots=True)
class FactorEffect:
    """A main effect (`across` empty) or an interaction: the effect of `treatment` − `baseline` on `axis`, pooled over
    `cells` strata, or in the first stratum of `across` minus in the second."""

    axis: str
    treatment: str
    baseline: str
    cells: int
    across: str
    estimate: Estimate
    test: Test

    @property
    def label(self) -> str:
        """E.g. "ratio_unit: subsequence − random, mean of 2 cells"."""
        name = f"{self.axis.rsplit('.', 1)[-1]}: {self.treatment} − {self.baseline}"
        return f"{name} × {self.across}" if self.across else f"{name}, mean of {self.cells} cells"


def main_effects(frames: Frames, plan: AnalysisPlan, metric: str | None = None) -> list[FactorEffect]:
    """Main effects of every axis whose two values ran in at least two cells, on the plan's kind of outcome of `metric`
    (by default the plan's). Paired where the plan pairs seeds, over the seeds that all cells share. Empty for a study
    of one axis."""
    values = _values(frames, plan, metric)
    out = []
    for (axis, treatment, baseline), cells in _by_effect(frames, plan).items():
        if len(cells) < 2:
            continue
        try:
            found = main_effect(_aligned([(values[c.treatment], values[c.baseline]) for c in cells], plan), plan.paired)
        except DegenerateInput:
            continue
        out.append(FactorEffect(axis, treatment, baseline, len(cells), "", *found))
    return out


def interactions(frames: Frames, plan: AnalysisPlan, metric: str | None = None) -> list[FactorEffect]:
    """Interactions of every effect with every pair of its cells that differ in one other axis, each four arms once."""
    values = _values(frames, plan, metric)
    out, seen = [], set()
    for (axis, treatment, baseline), cells in _by_effect(frames, plan).items():
        for high, low in combinations(cells, 2):
            differs = _differing(frames, high, low, axis)
            four = frozenset((high.treatment, high.baseline, low.treatment, low.baseline))
            if len(differs) != 1 or four in seen:
                continue
            seen.add(four)
            ((other, (first, second)),) = differs.items()
            pairs = _aligned([(values[c.treatment], values[c.baseline]) for c in (high, low)], plan)
            try:
                found = interaction(pairs[0], pairs[1], plan.paired)
            except DegenerateInput:
                continue
            across = f"{other.rsplit('.', 1)[-1]}: {first} − {second}"
            out.append(FactorEffect(axis, treatment, baseline, 2, across, *found))
    return out


def effect_table(found: Sequence[FactorEffect], plan: AnalysisPlan) -> pd.DataFrame:
    """One row an effect: difference, interval, its half-width, p, and p corrected over the rows."""
    adjusted = CORRECTIONS[plan.correction]([e.test.p for e in found])
    return pd.DataFrame(
        [
            {
                "effect": e.label,
                "difference": number_or_blank(e.estimate.value),
                **interval_columns(e.estimate),
                "half_width": _half_width(e.estimate),
                "p": number_or_blank(e.test.p),
                "p_adjusted": number_or_blank(p),
                "test": e.test.method,
            }
            for e, p in zip(found, adjusted, strict=True)
        ]
    )


def effect_sentences(found: Sequence[FactorEffect], plan: AnalysisPlan, outcome: Outcome | None = None) -> list[str]:
    """A sentence for each main effect; exploratory, corrected over them."""
    outcome = outcome or outcome_of(plan)
    adjusted = CORRECTIONS[plan.correction]([e.test.p for e in found])
    out = []
    for e, p in zip(found, adjusted, strict=True):
        bounds = e.estimate.interval
        interval = f" [{outcome.digits(bounds.low)}, {outcome.digits(bounds.high)}]" if bounds else ""
        shown = "differs" if p is not None and p <= plan.alpha else "shows no difference"
        out.append(
            f"Exploratory: {outcome.name}, {e.label}, {shown}: {outcome.amount(e.estimate.value)}{interval}, "
            f"p {format_p(e.test.p)}, {format_p(p)} after {plan.correction_name}."
        )
    return out


def _half_width(estimate: Estimate) -> float | str:
    found = estimate.interval
    return "" if found is None or not found.bounded else (found.high - found.low) / 2


def _values(frames: Frames, plan: AnalysisPlan, metric: str | None) -> dict[str, pd.Series]:
    chosen = metric or plan.metric
    return outcome_values(frames, plan, chosen, final_step(frames, chosen))


def _by_effect(frames: Frames, plan: AnalysisPlan) -> dict[tuple[str, str, str], list[ArmContrast]]:
    """(axis, treatment, baseline) as text → contrasts, one a cell."""
    out: dict[tuple[str, str, str], list[ArmContrast]] = {}
    for c in contrasts(frames, plan):
        treatment, baseline = (_text(frames.arms[arm].settings[c.axis]) for arm in (c.treatment, c.baseline))
        out.setdefault((c.axis, treatment, baseline), []).append(c)
    return out


def _differing(frames: Frames, high: ArmContrast, low: ArmContrast, axis: str) -> dict[str, tuple[str, str]]:
    """Other axes in which two cells differ → their values."""
    first, second = (frames.arms[c.baseline].settings for c in (high, low))
    return {a: (_text(v), _text(second[a])) for a, v in first.items() if a != axis and v != second[a]}


def _aligned(cells: Sequence[tuple[pd.Series, pd.Series]], plan: AnalysisPlan) -> list[tuple[pd.Series, pd.Series]]:
    """The cells' values; where seeds are paired, of the seeds that all of them share, in one order."""
    if not plan.paired:
        return list(cells)
    shared = set.intersection(*(set(v.index) for pair in cells for v in pair))
    order = sorted(shared)
    return [(a.loc[order], b.loc[order]) for a, b in cells]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{k}={_text(v)}" for k, v in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
