"""Outcomes of the trials of an arm, one value a seed: at a step, at the last common step, or over the curve."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.convergence import curve_areas
from analysis.frames import Frames
from analysis.registered_plan import AnalysisPlan


def final_step(frames: Frames, metric: str) -> int:
    """Last step at which every included trial that logged `metric…` did so. Raises ValueError when there is none."""
    if not frames.trials["included"].any():
        reasons = "; ".join(f"{r.trial} ({r.reason})" for r in frames.left_out.head(3).itertuples())
        more = ", …" if len(frames.left_out) > 3 else ""
        raise ValueError(f"{frames.name}: none of {len(frames.trials)} trials is included: {reasons}{more}")
    names = frames.metrics["metric"]
    rows = frames.metrics[(names == metric) | names.str.startswith(metric + "/")]
    steps = [set(g["step"]) for _, g in rows.groupby("trial")]
    common = set.intersection(*steps) if steps else set()
    if not common:
        raise ValueError(f"{frames.name}: no step at which every finished trial logged {metric}")
    return max(common)


def seed_values(frames: Frames, metric: str, arm: str, step: int) -> pd.Series:
    """One value a seed (index seed, sorted) of an arm at a step."""
    rows = frames.values(metric, step)
    series = rows[rows["arm"] == arm].set_index("seed")["value"].sort_index()
    if series.index.has_duplicates:
        raise ValueError(f"{frames.name}: arm {arm!r} has two trials with the same seed")
    return series[np.isfinite(series)]


def checkpoint_values(frames: Frames, plan: AnalysisPlan, metric: str) -> dict[str, pd.Series]:
    """Arm → one value a seed of `metric` at the checkpoint that the arms branch from; empty where the plan adjusts for
    none."""
    if not plan.adjusted:
        return {}
    return {arm: seed_values(frames, metric, arm, frames.start_step) for arm in frames.arms}


def paired_outcomes(
    frames: Frames, plan: AnalysisPlan, metric: str, pair: tuple[str, str], step: int
) -> tuple[pd.Series, pd.Series | None]:
    """Differences of an outcome over the seeds that both arms of a pair have, and where the plan adjusts for the
    checkpoint that they branch from, the metric there (else None). One value a seed; empty without common seeds."""
    values, starts = outcome_values(frames, plan, metric, step), checkpoint_values(frames, plan, metric)
    a, b = (values.get(arm, pd.Series(dtype=float)) for arm in pair)
    found = (a - b).dropna()
    if not starts or frames.config.get("branch") is None:
        return found, None
    covariate = ((starts[pair[0]] + starts[pair[1]]) / 2).dropna()
    shared = found.index.intersection(covariate.index)
    return found.loc[shared], covariate.loc[shared]


def outcome_values(frames: Frames, plan: AnalysisPlan, metric: str, step: int) -> dict[str, pd.Series]:
    """Arm → one value a seed of the plan's kind of outcome of `metric`: at `step`, or the area under its curve."""
    if plan.over == "area":
        return {arm: found for (_, arm), found in curve_areas(frames, metric).items()}
    return {label: seed_values(frames, metric, label, step) for label in frames.arms}
