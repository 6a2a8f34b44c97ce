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
from analysis.registered_plan import AnalysisPlan, contrasts
from analysis.stats.permutation import smallest_p
from analysis.stats.power import detectable_effect, seed_power, seeds_needed
from analysis.stats.types import DegenerateInput
from analysis.summary import final_step, seed_values

SEED_COUNTS = (3, 4, 5, 6, 8, 10, 15, 20, 30)


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


def project_power(frames: Frames, plan: AnalysisPlan) -> PowerProjection:
    """Power by number of seeds, at the pooled SD of `planned_arms`. Raises DegenerateInput without spread between
    seeds."""
    metric = plan.metric
    names = frames.metrics["metric"]
    if not names.eq(metric).any():
        metric = metric + "/" + next(iter(frames.suites(metric + "/")), "")
    sd, df = pooled_sd(frames, metric, planned_arms(frames, plan))
    if sd == 0:
        raise DegenerateInput("all seeds of each arm gave the same value: no SD to project power from")
    low, high = (sd * math.sqrt(df / stats.chi2.ppf(q, df)) for q in (0.975, 0.025))
    tests = max(1, len(frames.suites(plan.metric + "/")))
    rows = []
    for n in SEED_COUNTS:
        effect = detectable_effect(sd, n, plan.alpha)
        rows.append(
            {
                "seeds": n,
                "least_p": smallest_p(n, n, plan.paired),
                "least_p_adjusted": smallest_adjusted_p(n, n, tests, plan.paired),
                "detectable": number_or_blank(effect),
                "at_margin": number_or_blank(
                    seed_power(plan.margin, sd, n, plan.alpha) if plan.margin is not None else None
                ),
            }
        )
    return PowerProjection(sd, low, high, tests, pd.DataFrame(rows), tuple(_sentences(frames, plan, sd, low, high)))


def _sentences(frames: Frames, plan: AnalysisPlan, sd: float, low: float, high: float) -> list[str]:
    used = frames.trials[frames.trials["included"]]
    seeds = int(used.groupby("arm")["seed"].nunique().min())
    out = []
    effect = detectable_effect(sd, seeds, plan.alpha)
    if effect is None:
        out.append(
            f"With {seeds} seeds an arm no outcome can be significant (least p {format_p(smallest_p(seeds, seeds))}), "
            "whatever the number of questions."
        )
    else:
        out.append(
            f"With {seeds} seeds an arm and the spread seen here (SD {100 * sd:.1f} points between seeds), a "
            "difference of "
            f"{100 * effect:.1f} points is found with a power of 80 %."
        )
    if plan.margin is not None:
        need, worst = (seeds_needed(plan.margin, v, plan.alpha) for v in (sd, high))
        text = f"A difference of the margin, {100 * plan.margin:g} points, needs "
        text += f"{need} seeds an arm" if need else "more than 64 seeds an arm"
        if worst != need:
            text += f" ({worst or 'more than 64'} at the upper end of that SD's interval)"
        out.append(text + ".")
    return out
