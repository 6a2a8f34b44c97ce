"""Manipulation checks and positive controls of a study: what must be true for its contrast to mean anything.

A plan lists them under `analysis.requires`, so they are hashed with it, and they are evaluated before any verdict. A
check that fails, or whose quantity was not measured, gives the verdict "design could not tell" with the number that
failed it; no p-value stands as evidence then.

    requires:
      - {kind: called, operator: Review, at_least: 0.05}                  # share of episodes, treatment arm
      - {kind: level, metric: eval_sampled/turns, at_least: 3, of: all}   # every arm (or: some) at the last step
      - {kind: differ, metric: update/clip_fraction, at_least: 0.05}      # treatment against baseline, as designed
      - {kind: agree, metric: update/clip_fraction, at_most: 0.02}
      - {kind: learns, metric: eval_sampled/em, at_least: 0.05, beyond_form: true}
      - {kind: discriminates, at_least: 0.5}                              # questions with .1 < P(right) < .9
      - {kind: exposed, at_least: 100}                                    # episodes an arm that met an injected fault
      - {kind: control, metric: eval_sampled/em, axis: credit, contrast: [oracle, plain], expect: higher}
      - {kind: control, metric: eval_sampled/em, axis: credit, contrast: [shuffled, plain], expect: none}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.check_result import CheckResult
from analysis.episode_frames import SAMPLED_SPLIT, Episodes
from analysis.frames import Frames
from analysis.registered_plan import AnalysisPlan, contrasts, same_setting
from analysis.seed_outcomes import final_step, outcome_values
from analysis.stats.types import DegenerateInput
from analysis.unit_contrast import contrast_units


@dataclass(frozen=True)
class Evidence:
    """What checks are evaluated on. `episodes`: greedy answers of the last evaluation; `operator_use`: one row an arm,
    split, step and operator (`analysis.operator_use`); `exposures`: episodes by arm that met an injected fault."""

    frames: Frames
    plan: AnalysisPlan
    episodes: Episodes | None = None
    operator_use: pd.DataFrame | None = None
    exposures: Mapping[str, int] | None = None


def evaluate_requirements(requires: Sequence[Mapping[str, Any]], evidence: Evidence) -> list[CheckResult]:
    """Every check of a plan, in its order. Raises KeyError for a check that does not exist."""
    return [DESIGN_CHECKS[str(r["kind"])](evidence, {k: v for k, v in r.items() if k != "kind"}) for r in requires]


def arms_with(evidence: Evidence, value: Any, axis: str | None = None) -> list[str]:
    """Labels of the arms that have `value` on the plan's axis (or on `axis`)."""
    name = axis or evidence.plan.axis
    if name is None:
        return []
    return [label for label, arm in evidence.frames.arms.items() if same_setting(value, arm.value(name))]


def called(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Share of episodes of the last evaluation that call an operator, in the treatment arms (least of them)."""
    operator, least = settings["operator"], float(settings["at_least"])
    required = f"{operator} called in at least {least:.0%} of episodes of the treatment"
    table = evidence.operator_use
    if table is None:
        return _unmeasured(required)
    if table.empty:  # it has a row for every operator that some episode called
        return CheckResult(required, 0.0, "0.0%", least <= 0)
    arms = arms_with(evidence, evidence.plan.treatment)
    split = SAMPLED_SPLIT if (table["split"].astype(str) == SAMPLED_SPLIT).any() else str(table["split"].iloc[0])
    rows = table[(table["split"].astype(str) == split) & table["arm"].astype(str).isin(arms)]
    if rows.empty:
        return _unmeasured(required)
    last = rows[rows["step"] == rows["step"].max()]
    mine = last[last["operator"] == operator].groupby(last["arm"].astype(str), observed=True)["share"].max()
    share = min(float(mine.get(arm, 0.0)) for arm in arms)
    return CheckResult(required, share, f"{share:.1%} ({split})", share >= least)


def level(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """An arm's mean of a metric at the last step against a bound, in `all` arms or in `some`."""
    metric, over = settings["metric"], settings.get("of", "all")
    low, high = settings.get("at_least"), settings.get("at_most")
    bounds = [f"{name} {value:g}" for name, value in (("at least", low), ("at most", high)) if value is not None]
    required = f"{metric} {' and '.join(bounds)} in {'every arm' if over == 'all' else 'some arm'}"
    values = _final(evidence.frames, metric)
    if not values:
        return _unmeasured(required)
    fits = {a: (low is None or v >= low) and (high is None or v <= high) for a, v in values.items()}
    holds = all(fits.values()) if over == "all" else any(fits.values())
    worst = min(values, key=lambda a: (fits[a], values[a] if low is not None else -values[a]))
    return CheckResult(required, values[worst], f"{values[worst]:.3g} ({worst})", holds)


def differ(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Treatment and baseline differ in a metric by at least so much, as designed, in each stratum of the contrast."""
    least = float(settings["at_least"])
    required = f"{settings['metric']} of the compared arms at least {least:g} apart"
    gaps = _gaps(evidence, settings["metric"])
    return (
        _unmeasured(required) if not gaps else CheckResult(required, min(gaps), f"{min(gaps):.3g}", min(gaps) >= least)
    )


def agree(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Treatment and baseline differ in a metric by at most so much, as designed, in each stratum of the contrast."""
    most = float(settings["at_most"])
    required = f"{settings['metric']} of the compared arms at most {most:g} apart"
    gaps = _gaps(evidence, settings["metric"])
    return (
        _unmeasured(required) if not gaps else CheckResult(required, max(gaps), f"{max(gaps):.3g}", max(gaps) <= most)
    )


def learns(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Some arm's metric rises by at least so much from step 0, or the branch point, to the last step.

    `beyond_form`: the metric (a share of episodes) among episodes that gave an answer, so that answering at all does
    not count as answering right.
    """
    metric, least = settings["metric"], float(settings["at_least"])
    beyond = bool(settings.get("beyond_form", False))
    required = f"{metric}{' among answered episodes' if beyond else ''} rises by at least {least:g} in some arm"
    frames = evidence.frames
    start, end = (_final(frames, metric, step) for step in (frames.start_step, None))
    if beyond:
        silent = metric.rsplit("/", 1)[0] + "/no_answer"
        at_start, at_end = _final(frames, silent, frames.start_step), _final(frames, silent)
        if not at_start or not at_end:
            return _unmeasured(required)
        start = {a: v / max(1 - at_start[a], 1e-9) for a, v in start.items() if a in at_start}
        end = {a: v / max(1 - at_end[a], 1e-9) for a, v in end.items() if a in at_end}
    rises = {arm: end[arm] - start[arm] for arm in end if arm in start}
    if not rises:
        return _unmeasured(required)
    best = max(rises, key=lambda a: rises[a])
    return CheckResult(required, rises[best], f"{rises[best]:+.3f} ({best})", rises[best] >= least)


def discriminates(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Share of questions whose probability of a right answer over all runs lies strictly within `between`."""
    least = float(settings["at_least"])
    low, high = settings.get("between", (0.1, 0.9))
    required = f"at least {least:.0%} of questions with {low:g} < P(right) < {high:g} over runs"
    if evidence.episodes is None or evidence.episodes.episodes.empty:
        return _unmeasured(required)
    right = evidence.episodes.episodes.groupby(["suite", "question"], observed=True)["em"].mean()
    share = float(((right > low) & (right < high)).mean())
    return CheckResult(required, share, f"{share:.0%} of {len(right)}", share >= least)


def exposed(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """Episodes that met an injected fault, in the arm that has fewest."""
    least = int(settings["at_least"])
    required = f"at least {least} episodes exposed to a fault in every arm"
    if not evidence.exposures:
        return _unmeasured(required)
    arm, count = min(evidence.exposures.items(), key=lambda item: item[1])
    return CheckResult(required, float(count), f"{count} ({arm})", count >= least)


def control(evidence: Evidence, settings: Mapping[str, Any]) -> CheckResult:
    """A contrast with a known answer: `expect: none` (placebo: the interval holds 0), `higher` or `lower` (an effect
    that the design must find: the interval excludes 0 on that side), in the plan's kind of outcome and pairing. Of
    several pairs of arms with these values it is the first that differs in the control's axis alone."""
    metric, expect = settings["metric"], settings["expect"]
    a, b = settings["contrast"]
    side = {"none": "not shown to differ", "higher": "shown to be higher", "lower": "shown to be lower"}[expect]
    required = f"{metric} of {a} against {b} {side}"
    frames = evidence.frames
    pair = _pair(evidence, a, b, settings.get("axis") or evidence.plan.axis)
    if pair is None:
        return _unmeasured(required)
    try:
        plan = evidence.plan
        values = outcome_values(frames, plan, metric, final_step(frames, metric))
        x, y = (values.get(arm, pd.Series(dtype=float)) for arm in pair)
        made = contrast_units(x, y, plan)
    except (DegenerateInput, ValueError):
        return _unmeasured(required)
    found = made.difference if made is not None else None
    if found is None or found.interval is None or found.value is None:
        return _unmeasured(required)
    low, high = found.interval.low, found.interval.high
    holds = {"none": low <= 0 <= high, "higher": low > 0, "lower": high < 0}[expect]
    return CheckResult(required, found.value, f"{found.value:+.3f} [{low:+.3f}, {high:+.3f}]", holds)


DesignCheck = Callable[[Evidence, Mapping[str, Any]], CheckResult]

DESIGN_CHECKS: Mapping[str, DesignCheck] = {
    "called": called,
    "level": level,
    "differ": differ,
    "agree": agree,
    "learns": learns,
    "discriminates": discriminates,
    "exposed": exposed,
    "control": control,
}
"""Checks by the name that a plan gives them."""


def _unmeasured(required: str) -> CheckResult:
    return CheckResult(required, None, "not measured", False)


def _final(frames: Frames, metric: str, step: int | None = None) -> dict[str, float]:
    """Arm → mean over seeds at `step`, by default the last one that every trial has; arms without it are left out."""
    rows = frames.values(metric)
    if rows.empty:
        return {}
    at = rows[rows["step"] == (final_step(frames, metric) if step is None else step)]
    means = at.groupby("arm", observed=True)["value"].mean()
    return {str(arm): float(value) for arm, value in means.items() if np.isfinite(value)}


def _course(frames: Frames, metric: str) -> dict[str, float]:
    """Arm → mean over seeds and training steps of a trace."""
    rows = frames.values(metric)
    means = rows[rows["step"] > frames.start_step].groupby("arm", observed=True)["value"].mean()
    return {str(arm): float(value) for arm, value in means.items() if np.isfinite(value)}


def _gaps(evidence: Evidence, metric: str) -> list[float]:
    """Differences in the registered contrast, one a stratum: training traces over all steps, others at the end."""
    trace = metric.startswith(("update/", "train/"))
    values = _course(evidence.frames, metric) if trace else _final(evidence.frames, metric)
    pairs = [(c.treatment, c.baseline) for c in contrasts(evidence.frames, evidence.plan) if c.confirmatory]
    return [abs(values[a] - values[b]) for a, b in pairs if a in values and b in values]


def _pair(evidence: Evidence, a: Any, b: Any, axis: str | None) -> tuple[str, str] | None:
    """First pair of arms with these values on the axis and equal settings otherwise."""
    arms = evidence.frames.arms
    for first in arms_with(evidence, a, axis):
        for second in arms_with(evidence, b, axis):
            one, two = ({k: v for k, v in arms[arm].settings.items() if k != axis} for arm in (first, second))
            if one == two:
                return first, second
    return None
