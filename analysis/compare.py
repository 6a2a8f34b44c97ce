"""Comparison of arms on one value a seed: exact permutation test, interval, Holm over groups, TOST."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.stats.multiplicity import CORRECTIONS, tost
from analysis.stats.permutation import best_interval, seed_permutation, smallest_p
from analysis.stats.types import Estimate, Test


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contrast on one group (suite, failure kind, …). `p_adjusted` is corrected over the groups of this contrast, and
    so is the p of `equivalence`."""

    group: str
    contrast: ArmContrast
    n_seeds: tuple[int, int]
    difference: Estimate
    test: Test
    p_adjusted: float | None
    equivalence: Test | None


SeedValues = Mapping[tuple[str, str], pd.Series]
"""(group, arm) → one finite number a seed (index: seed)."""


def group_seed_values(frame: pd.DataFrame, group: str, value: str) -> dict[tuple[str, str], pd.Series]:
    """(group, arm) → mean of column `value` by seed, of a frame with columns arm, seed, `group`, `value`."""
    means = frame.groupby([group, "arm", "seed"], observed=True)[value].mean().dropna()
    return {(str(g), str(a)): rows.droplevel([0, 1]) for (g, a), rows in means.groupby(level=[0, 1], observed=True)}


def compare_arms(
    values: SeedValues,
    contrasts: Sequence[ArmContrast],
    plan: AnalysisPlan,
    uncorrected: Collection[str] = (),
    margin: float | None = None,
    possible: tuple[float, float] | None = None,
) -> list[Comparison]:
    """Every contrast on every group that both arms have. Groups in `uncorrected` are excluded from the correction.

    Arms without values for a group give no row. Where the plan pairs seeds, those of one arm alone are left out (see
    `unpaired_seeds`). `margin` None: no equivalence test. `possible`: the range of a
    difference, to which intervals are clipped.
    """
    out = []
    groups = list(dict.fromkeys(g for g, _ in values))
    for contrast in contrasts:
        drafts = []
        for group in groups:
            a, b = values.get((group, contrast.treatment)), values.get((group, contrast.baseline))
            if a is None or b is None or not len(a) or not len(b):
                continue
            if plan.paired:
                seeds = a.index.intersection(b.index)
                a, b = a.loc[seeds], b.loc[seeds]
                if not len(seeds):
                    continue
            drafts.append((group, np.asarray(a, dtype=float), np.asarray(b, dtype=float)))
        tests = {g: seed_permutation(a, b, plan.paired) for g, a, b in drafts}
        counted = [g for g in tests if g not in uncorrected]
        adjusted = dict(zip(counted, CORRECTIONS[plan.correction]([tests[g].p for g in counted]), strict=True))
        same = (
            {g: tost(a, b, margin, plan.paired, alpha=plan.alpha) for g, a, b in drafts} if margin is not None else {}
        )
        same_p = CORRECTIONS[plan.correction]([same[g].p for g in counted]) if same else []
        same |= {g: replace(same[g], p=p) for g, p in zip(counted if same else [], same_p, strict=True)}
        for group, a, b in drafts:
            out.append(
                Comparison(
                    group,
                    contrast,
                    (a.size, b.size),
                    best_interval(a, b, plan.paired, plan.level).within(possible),
                    tests[group],
                    adjusted.get(group, tests[group].p),
                    same.get(group),
                )
            )
    return out


def comparison_table(rows: Sequence[Comparison], group: str = "suite") -> pd.DataFrame:
    """One row a comparison; numbers as floats, absent ones as empty strings."""
    return pd.DataFrame(
        [
            {
                "contrast": r.contrast.label,
                "role": "confirmatory" if r.contrast.confirmatory else "exploratory",
                group: r.group,
                "seeds": f"{r.n_seeds[0]} v {r.n_seeds[1]}",
                "difference": number_or_blank(r.difference.value),
                **interval_columns(r.difference),
                "p": number_or_blank(r.test.p),
                "p_adjusted": number_or_blank(r.p_adjusted),
                "smallest_p": number_or_blank(r.test.smallest_p),
                "p_equivalence": number_or_blank(r.equivalence.p if r.equivalence else None),
                "interval": r.difference.interval.method if r.difference.interval else r.difference.note,
                "test": r.test.method,
                "note": r.test.note or ("" if r.difference.interval else r.difference.note),
            }
            for r in rows
        ]
    )


def unpaired_seeds(values: SeedValues, contrasts: Sequence[ArmContrast]) -> list[str]:
    """A sentence for each contrast of which only one arm has some seed: a paired comparison leaves it out."""
    found: dict[str, None] = {}
    for contrast in contrasts:
        for group in dict.fromkeys(g for g, _ in values):
            a, b = values.get((group, contrast.treatment)), values.get((group, contrast.baseline))
            if a is None or b is None or not len(a) or not len(b):
                continue
            alone = ", ".join(map(str, sorted(int(s) for s in a.index.symmetric_difference(b.index))))
            if alone:
                found[f"{contrast.label}: seeds without a pair are left out: {alone}"] = None
    return list(found)


def unreachable_contrasts(rows: Sequence[Comparison], alpha: float) -> list[str]:
    """A sentence for each contrast whose seed counts cannot reach α."""
    found: dict[str, None] = {}
    for r in rows:
        if r.test.smallest_p is not None and r.test.smallest_p > alpha:
            a, b = r.n_seeds
            found[
                f"{r.contrast.label}: {a} v {b} seeds cannot reach p ≤ {alpha:g} "
                f"(smallest attainable {format_p(r.test.smallest_p)})"
            ] = None
    return list(found)


def smallest_adjusted_p(n_a: int, n_b: int, tests: int, paired: bool = False) -> float:
    """Least p that Holm can give the first of `tests` tests: the least p times their number, at most 1."""
    return min(1.0, smallest_p(n_a, n_b, paired) * tests)


def number_or_blank(value: float | None) -> float | str:
    """The number for a table, or "" for None; never NaN."""
    return "" if value is None else float(value)


def interval_columns(
    estimate: Estimate | None, prefix: str = "", within: tuple[float, float] | None = None
) -> dict[str, float | str]:
    """{prefix}low and {prefix}high of an estimate's interval, for tables; clipped to the range `within`."""
    interval = estimate.within(within).interval if estimate else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {f"{prefix}low": number_or_blank(low), f"{prefix}high": number_or_blank(high)}


def format_p(p: float | str | None) -> str:
    """Four decimals at most, never 0: ".0625", "<.0001"; "–" when there is none."""
    if p is None or p == "":
        return "–"
    p = float(p)
    if p < 1e-4:
        return "<.0001"
    return f"{p:.4f}".rstrip("0").rstrip(".").removeprefix("0") if p < 0.99995 else "1"


def format_share(value: float | str | None, signed: bool = False) -> str:
    """Three decimals, "–" when there is none."""
    if value is None or value == "":
        return "–"
    rounded = round(float(value), 3) + 0.0  # no "-0.000"
    return f"{rounded:+.3f}" if signed else f"{rounded:.3f}"
