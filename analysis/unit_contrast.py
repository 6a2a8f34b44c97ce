"""Contrast of two arms on one value a unit, by the test that the plan registers.

Units are seeds, unpaired or paired; levels of a random factor, likewise; or the cells of two crossed random factors.
Pairs that branch from a common checkpoint may be adjusted for the metric there (ANCOVA).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.registered_plan import AnalysisPlan, CrossedUnits
from analysis.stats.ancova import adjusted_difference, adjusted_pair_law
from analysis.stats.crossed_levels import METHOD, crossed_contrast, crossed_law
from analysis.stats.multiplicity import tost
from analysis.stats.permutation import best_interval, seed_permutation
from analysis.stats.random_levels import Assignment
from analysis.stats.types import DegenerateInput, Estimate, Test
from analysis.stats.unequal_spread import EVEN_SPREAD, SpreadCheck, check_spread

ADJUSTED = "pairs adjusted for their checkpoint"


@dataclass(frozen=True, slots=True)
class UnitContrast:
    """Difference of two arms with its test; `units` of each arm that it rests on. `equivalence` None: no margin."""

    units: tuple[int, int]
    difference: Estimate
    test: Test
    equivalence: Test | None
    spread: SpreadCheck = EVEN_SPREAD


def contrast_units(
    a: pd.Series, b: pd.Series, plan: AnalysisPlan, margin: float | None = None, covariate: pd.Series | None = None
) -> UnitContrast | None:
    """`a` − `b`, series of one finite number a unit (index: unit). Units without a pair are left out where the plan
    pairs them; None where no unit is left. `covariate`: of pairs, a value before the arms parted."""
    if plan.crossed is not None:
        return _crossed(a, b, plan, plan.crossed, margin)
    if plan.paired:
        shared = a.index.intersection(b.index)
        a, b = a.loc[shared], b.loc[shared]
    if not len(a) or not len(b):
        return None
    if plan.paired and covariate is not None:
        return _adjusted(a, b, covariate, plan, margin)
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return UnitContrast(
        (x.size, y.size),
        best_interval(x, y, plan.paired, plan.level),
        seed_permutation(x, y, plan.paired),
        tost(x, y, margin, plan.paired, alpha=plan.alpha) if margin is not None else None,
        check_spread(x, y, plan.paired),
    )


def _adjusted(
    a: pd.Series, b: pd.Series, covariate: pd.Series, plan: AnalysisPlan, margin: float | None
) -> UnitContrast | None:
    shared = a.index.intersection(covariate.index)
    if not len(shared):
        return None
    x, y, start = (np.asarray(s.loc[shared], dtype=float) for s in (a, b, covariate))
    found = adjusted_difference(x, y, start, start, paired=True, level=plan.level)
    same = None
    if margin is not None:
        same = Test(found[0].value, None, ADJUSTED, note=found[0].note)
        if found[0].interval is not None:
            same = adjusted_pair_law(x - y, start).equivalence(margin, plan.alpha, ADJUSTED)
    return UnitContrast((x.size, y.size), *found, same, check_spread(x, y, paired=True))


def _crossed(
    a: pd.Series, b: pd.Series, plan: AnalysisPlan, crossed: CrossedUnits, margin: float | None
) -> UnitContrast | None:
    x, y = full_grids(a, b, crossed)
    if not x.size or not y.size:
        return None
    size = (x.size, y.size)
    try:
        law = crossed_law(x, y, crossed.rows, crossed.column_levels)
        found = crossed_contrast(x, y, crossed.rows, crossed.column_levels, plan.level)
    except DegenerateInput as error:
        value = float(x.mean() - y.mean())
        test = Test(value, None, METHOD, note=str(error))
        return UnitContrast(
            size, Estimate(value, None, min(size), str(error)), test, test if margin is not None else None
        )
    return UnitContrast(size, *found, law.equivalence(margin, plan.alpha, METHOD) if margin is not None else None)


def full_grids(a: pd.Series, b: pd.Series, crossed: CrossedUnits) -> tuple[np.ndarray, np.ndarray]:
    """Values of both arms as [level of the first factor, level of the second], without a missing cell.

    The level that lacks most cells is left out until none is missing, of both arms where they share it.
    """
    grids = [s.set_axis(pd.MultiIndex.from_arrays(divmod(s.index, crossed.columns))).unstack() for s in (a, b)]
    for axis, factor in enumerate((crossed.rows, crossed.column_levels)):
        if factor is Assignment.CROSSED:
            shared = grids[0].axes[axis].union(grids[1].axes[axis])
            grids = [g.reindex(shared, axis=axis) for g in grids]
    while any(g.isna().to_numpy().any() for g in grids):
        worst = [
            (float(share), arm, axis, level)
            for arm, g in enumerate(grids)
            for axis in (0, 1)
            for level, share in g.isna().mean(axis=1 - axis).items()
        ]
        _, arm, axis, level = max(worst, key=lambda w: (w[0], -w[2]))
        both = (crossed.rows, crossed.column_levels)[axis] is Assignment.CROSSED
        grids = [g.drop(level, axis=axis) if both or i == arm else g for i, g in enumerate(grids)]
    return grids[0].to_numpy(dtype=float), grids[1].to_numpy(dtype=float)
