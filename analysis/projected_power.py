"""Power of a next study at the SD between seeds of a finished sweep.

It does not bear on the sweep's own result: power after the fact adds nothing to the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from analysis.compare import format_p, number_or_blank, smallest_adjusted_p
from analysis.frames import Frames
from analysis.random_factors import at_random_levels
from analysis.registered_plan import AnalysisPlan, contrasts
from analysis.seed_outcomes import final_step, outcome_values, paired_outcomes, seed_values
from analysis.stats.ancova import pair_variance
from analysis.stats.permutation import smallest_p
from analysis.stats.power import (
    detectable_difference,
    detectable_effect,
    difference_power,
    seed_power,
    seeds_for_difference,
    seeds_needed,
)
from analysis.stats.types import DegenerateInput

SEED_COUNTS = (3, 4, 5, 6, 8, 10, 15, 20, 30)
MOST_SEEDS = 64
"""Sample sizes above it are given as "more than"."""


@dataclass(frozen=True)
class PowerProjection:
    """Pooled SD over seeds of an arm's mean (with its χ² interval), the table by seeds, and sentences."""

    sd: float
    low: float
    high: float
    tests: int
    table: pd.DataFrame
    sentences: tuple[str, ...]


def planned_arms(frames: Frames, plan: AnalysisPlan) -> list[str]:
    """Arms whose SD determines the power of the plan: those of its registered contrast, or else all."""
    named = {arm for c in contrasts(frames, plan) if c.confirmatory for arm in (c.treatment, c.baseline)}
    return [arm for arm in frames.arms if arm in named or not named]


def pooled_sd(frames: Frames, metric: str, arms: Sequence[str]) -> tuple[float, int]:
    """(SD over seeds around the means of `arms` at the last step, degrees of freedom).

    Raises DegenerateInput where no arm has two seeds.
    """
    step = final_step(frames, metric)
    squares, df = 0.0, 0
    for arm in arms:
        values = seed_values(frames, metric, arm, step).to_numpy(dtype=float)
        if values.size > 1:
            squares += float(((values - values.mean()) ** 2).sum())
            df += values.size - 1
    if df < 1:
        raise DegenerateInput("with one seed an arm the SD between seeds is unknown: power cannot be projected")
    return math.sqrt(squares / df), df


def outcome_sd(frames: Frames, plan: AnalysisPlan, metric: str) -> tuple[float, int]:
    """(SD over seeds of an arm's value of the plan's kind of outcome, degrees of freedom). Where seeds are paired: the
    SD of pairs' differences, as far as an adjustment leaves it, over √2, so that a difference has the same SD as that
    of two arms.

    Raises DegenerateInput where no arm has two seeds, or no contrast two pairs.
    """
    if not plan.sensitive:
        return pooled_sd(frames, metric, planned_arms(frames, plan))
    step = final_step(frames, metric)
    if plan.paired:
        pairs = [c for c in contrasts(frames, plan) if c.confirmatory] or contrasts(frames, plan)
        found = [paired_outcomes(frames, plan, metric, (c.treatment, c.baseline), step) for c in pairs]
        parts = [(v / 2, df) for v, df in (pair_variance(*f) for f in found)]
    else:
        values = outcome_values(frames, plan, metric, step)
        parts = [pair_variance(values[arm]) for arm in planned_arms(frames, plan)]
    df = sum(n for _, n in parts)
    if df < 1:
        raise DegenerateInput("with one seed an arm the SD between seeds is unknown: power cannot be projected")
    return math.sqrt(sum(v * n for v, n in parts if n) / df), df


def _detectable(sd: float, seeds: int, plan: AnalysisPlan) -> float | None:
    if plan.paired:
        return detectable_difference(math.sqrt(2) * sd, seeds, True, plan.alpha, covariates=int(plan.adjusted))
    return detectable_effect(sd, seeds, plan.alpha)


def _power(effect: float, sd: float, seeds: int, plan: AnalysisPlan) -> float:
    if plan.paired:
        return difference_power(effect, math.sqrt(2) * sd, seeds, True, plan.alpha, int(plan.adjusted))
    return seed_power(effect, sd, seeds, plan.alpha)


def _needed(effect: float, sd: float, plan: AnalysisPlan) -> int | None:
    if plan.paired:
        found = seeds_for_difference(effect, math.sqrt(2) * sd, True, plan.alpha, covariates=int(plan.adjusted))
        return found if found <= MOST_SEEDS else None
    return seeds_needed(effect, sd, plan.alpha, most=MOST_SEEDS)


def project_power(frames: Frames, plan: AnalysisPlan) -> PowerProjection:
    """Power by number of seeds, at the pooled SD of `planned_arms`. Raises DegenerateInput without spread between
    seeds."""
    frames, plan = at_random_levels(frames, plan)
    if plan.crossed is not None:
        raise DegenerateInput("two crossed random factors have no one number of units to project power by")
    metric = plan.metric
    names = frames.metrics["metric"]
    if not names.eq(metric).any():
        metric = metric + "/" + next(iter(frames.suites(metric + "/")), "")
    sd, df = outcome_sd(frames, plan, metric)
    if sd == 0:
        raise DegenerateInput("all seeds of each arm gave the same value: no SD to project power from")
    low, high = (sd * math.sqrt(df / stats.chi2.ppf(q, df)) for q in (0.975, 0.025))
    tests = max(1, len(frames.suites(plan.metric + "/")))
    rows = []
    for n in SEED_COUNTS:
        effect = _detectable(sd, n, plan)
        rows.append(
            {
                "seeds": n,
                "least_p": smallest_p(n, n, plan.paired),
                "least_p_adjusted": smallest_adjusted_p(n, n, tests, plan.paired),
                "detectable": number_or_blank(effect),
                "at_margin": number_or_blank(_power(plan.margin, sd, n, plan) if plan.margin is not None else None),
            }
        )
    return PowerProjection(sd, low, high, tests, pd.DataFrame(rows), tuple(_sentences(frames, plan, sd, low, high)))


def _sentences(frames: Frames, plan: AnalysisPlan, sd: float, low: float, high: float) -> list[str]:
    used = frames.trials[frames.trials["included"]]
    seeds = int(used.groupby("arm")["seed"].nunique().min())
    out = []
    effect = _detectable(sd, seeds, plan)
    if effect is None:
        out.append(
            f"With {seeds} {plan.units} an arm no outcome can be significant "
            f"(least p {format_p(smallest_p(seeds, seeds, plan.paired))}), "
            "whatever the number of questions."
        )
    else:
        out.append(
            f"With {seeds} {plan.units} an arm and the spread seen here (SD {100 * sd:.1f} points between "
            f"{plan.units}), a difference of {100 * effect:.1f} points is found with a power of 80 %."
        )
    if plan.margin is not None:
        need, worst = (_needed(plan.margin, v, plan) for v in (sd, high))
        text = f"A difference of the margin, {100 * plan.margin:g} points, needs "
        text += f"{need} {plan.units} an arm" if need else f"more than {MOST_SEEDS} {plan.units} an arm"
        if worst != need:
            text += f" ({worst or f'more than {MOST_SEEDS}'} at the upper end of that SD's interval)"
        out.append(text + ".")
    return out
