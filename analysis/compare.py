"""Comparison of arms on one value a seed: exact permutation test, interval, Holm over groups, TOST."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.permutation import smallest_p
from analysis.stats.types import Estimate, Test
from analysis.stats.unequal_spread import EVEN_SPREAD, SpreadCheck
from analysis.unit_contrast import UnitContrast, contrast_units


@dataclass(frozen=True, slots=True)
class Comparison:
    """A contrast on one group (suite, failure kind, …). `p_adjusted` is corrected over the groups of this contrast, and
    so are the p of `equivalence` and `p_claim`: of the exact test, and of Welch's too where the spreads differ."""

    group: str
    contrast: ArmContrast
    n_seeds: tuple[int, int]
    difference: Estimate
    test: Test
    p_adjusted: float | None
    equivalence: Test | None
    spread: SpreadCheck = EVEN_SPREAD
    p_claim: float | None = None

    @property
    def uncorrected_claim(self) -> float | None:
        """The larger p of the exact test and, where the arms' spreads differ, of Welch's: a claim needs both."""
        p, welch = self.test.p, self.spread.welch_p
        return p if p is None or welch is None else max(p, welch)


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
    covariates: SeedValues | None = None,
) -> list[Comparison]:
    """Every contrast on every group that both arms have. Groups in `uncorrected` are excluded from the correction.

    Arms without values for a group give no row. Where the plan pairs seeds, those of one arm alone are left out (see
    `unpaired_seeds`). `margin` None: no equivalence test. `possible`: the range of a
    difference, to which intervals are clipped. `covariates`: values at the checkpoint that pairs branch from, for which
    differences are adjusted.
    """
    out = []
    groups = list(dict.fromkeys(g for g, _ in values))
    for contrast in contrasts:
        found: dict[str, UnitContrast] = {}
        for group in groups:
            a, b = values.get((group, contrast.treatment)), values.get((group, contrast.baseline))
            if a is None or b is None:
                continue
            made = contrast_units(a, b, plan, margin, _at_checkpoint(covariates or {}, group, contrast))
            if made is not None:
                found[group] = made
        rows = {
            group: Comparison(
                group, contrast, made.units, made.difference.within(possible), made.test, None, None, made.spread
            )
            for group, made in found.items()
        }
        same = {group: made.equivalence for group, made in found.items() if made.equivalence is not None}
        counted = [g for g in rows if g not in uncorrected]
        correct = CORRECTIONS[plan.correction]
        adjusted = dict(zip(counted, correct([rows[g].test.p for g in counted]), strict=True))
        claims = dict(zip(counted, correct([rows[g].uncorrected_claim for g in counted]), strict=True))
        same_p = correct([same[g].p for g in counted]) if same else []
        same |= {g: replace(same[g], p=p) for g, p in zip(counted if same else [], same_p, strict=True)}
        for group, row in rows.items():
            p, claim = adjusted.get(group, row.test.p), claims.get(group, row.uncorrected_claim)
            out.append(replace(row, p_adjusted=p, p_claim=claim, equivalence=same.get(group)))
    return out


def _at_checkpoint(covariates: SeedValues, group: str, contrast: ArmContrast) -> pd.Series | None:
    """Mean of both arms' values at their common checkpoint: one policy, whose sampled answers may differ."""
    x, y = (covariates.get((group, arm)) for arm in (contrast.treatment, contrast.baseline))
    return ((x + y) / 2).dropna() if x is not None and y is not None else None


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
