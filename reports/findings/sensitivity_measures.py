"""Sensitivity of a registered result: by subset of seeds, by evaluation, by question, and against the published
differences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis.compare import Comparison, SeedValues, compare_arms, comparison_table, format_p
from analysis.frames import CHANGE_RANGE, is_share
from analysis.outcome import metric_outcome
from analysis.registered_plan import ArmContrast, contrasts
from analysis.seed_outcomes import final_step, seed_values
from reports.findings.contrast_measures import all_pairs
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study
from reports.published_tables import published
from reports.tables import display_frame


def seed_subset(study: Study, seeds: Sequence[int], reason: str) -> MeasureResult:
    """The registered contrast over a subset of the seeds; `reason` opens its sentence."""
    frames, metric = study.frames, study.plan.metric
    step = final_step(frames, metric)
    values = {
        (f"seeds {_runs(seeds)}", arm): found[found.index.isin(seeds)]
        for arm in frames.arms
        for found in [seed_values(frames, metric, arm, step)]
    }
    rows = _compared(study, values)
    name = metric_outcome(metric)
    sentences = []
    for r in rows:
        found = r.difference.interval
        text = f" [{name.digits(found.low)}, {name.digits(found.high)}]" if found else ""
        same = f", TOST p {format_p(r.equivalence.p)}" if r.equivalence else ""
        sentences.append(
            f"{reason} Over {r.group} alone {r.contrast.label} is {name.amount(r.difference.value)}{text}, "
            f"p {format_p(r.test.p)}{same}."
        )
    heading = f"Registered contrast, seeds {_runs(seeds)} alone: {metric}"
    return MeasureResult(heading, _table(rows, "part"), sentences, tests=True)


def contrast_by_step(study: Study) -> MeasureResult:
    """The registered contrast at every evaluation after the start, corrected over them."""
    frames, metric = study.frames, study.plan.metric
    steps = [s for s in sorted(int(s) for s in frames.values(metric)["step"].unique()) if s > 0]
    values = {(str(s), arm): seed_values(frames, metric, arm, s) for s in steps for arm in frames.arms}
    rows = _compared(study, values)
    name = metric_outcome(metric)
    sentences = []
    for contrast in dict.fromkeys(r.contrast for r in rows):
        mine = [r for r in rows if r.contrast == contrast and r.difference.value is not None]
        low, high = (pick(mine, key=lambda r: r.difference.value or 0.0) for pick in (min, max))
        same = [r.group for r in mine if r.equivalence and r.equivalence.rejects(study.plan.alpha)]
        text = (
            f"Evaluation by evaluation {contrast.label} lies between {name.amount(low.difference.value)} (step "
            f"{low.group}) and {name.amount(high.difference.value)} (step {high.group}), least p adj. "
            f"{format_p(min((r.p_adjusted for r in mine if r.p_adjusted is not None), default=None))}"
        )
        if study.plan.margin is not None:
            text += "; equivalence, corrected over evaluations, holds at " + (
                f"step {', '.join(same)}" if same else "none of them"
            )
        sentences.append(f"Exploratory: {text[0].lower()}{text[1:]}.")
    notes = [f"p adj. and p TOST: {study.plan.correction_name} over the {len(steps)} evaluations."]
    return MeasureResult(
        f"Registered contrast by evaluation: {metric}", _table(rows, "step"), sentences, notes=notes, tests=True
    )


def uniform_questions(study: Study) -> MeasureResult:
    """Questions that all runs of all arms answer alike and that therefore cannot separate arms."""
    found = study.greedy.episodes
    heading = "Questions that every run answers alike, greedy answers at the last step"
    if found.empty:
        return MeasureResult(heading, None)
    mean = found.groupby(["suite", "question"], observed=True)["em"].mean()
    suites = mean.groupby("suite", observed=True)
    rows = pd.DataFrame(
        {
            "questions": suites.size(),
            "right in every run": suites.apply(lambda m: int(m.eq(1).sum())),
            "wrong in every run": suites.apply(lambda m: int(m.eq(0).sum())),
        }
    )
    total, right, wrong = (int(rows[c].sum()) for c in rows.columns)
    runs = found["trial"].nunique()
    sentence = (
        f"Of the {total} questions {right} are right in all {runs} runs and {wrong} wrong in all of them: those "
        f"{(right + wrong) / total:.0%} cannot separate arms."
    )
    return MeasureResult(heading, rows.reset_index(), [sentence])


def published_gap(study: Study, pair: Sequence[str]) -> MeasureResult:
    """The paper's differences between two objectives against the interval found here."""
    frames, metric = study.frames, study.plan.metric
    step = final_step(frames, metric)
    a, b = pair
    both = [c for c in all_pairs(contrasts(frames, study.plan)) if (c.treatment, c.baseline) == (a, b)]
    rows = _compared(study, {(metric, arm): seed_values(frames, metric, arm, step) for arm in frames.arms}, both)
    if not rows or rows[0].difference.interval is None:
        return MeasureResult("Published differences", None)
    found = rows[0].difference.interval
    blocks = [b["rows"] for b in published()["ablation"]["blocks"]]
    gaps = [float(np.mean(block[a]) - np.mean(block[b])) for block in blocks]
    single = [x - y for block in blocks for x, y in zip(block[a], block[b], strict=True)]
    inside = [found.low <= g <= found.high for g in gaps]
    name = metric_outcome(metric)
    here = f"the interval here, [{name.digits(found.low)}, {name.digits(found.high)}]"
    margin = study.plan.margin
    below = margin is not None and max(abs(g) for g in gaps) < margin
    if all(inside):
        beside = f", and below the margin of {name.amount(margin, signed=False)}" if below else ""
        position = f"That lies within {here}{beside}: effects of that size are neither shown nor excluded"
    elif any(inside):
        position = f"{here[0].upper()}{here[1:]}, excludes one end of that and not the other"
    else:
        position = f"{here[0].upper()}{here[1:]}, excludes that"
    text = (
        f"The paper's {a} − {b} is {name.amount(min(gaps))} to {name.amount(max(gaps))} on the mean of its benchmarks, "
        f"{name.amount(min(single))} to {name.amount(max(single))} on single ones. {position}."
    )
    return MeasureResult("Published differences", None, [text], tests=True)


def _compared(study: Study, values: SeedValues, pairs: Sequence[ArmContrast] | None = None) -> list[Comparison]:
    plan = study.plan
    chosen = [c for c in contrasts(study.frames, plan) if c.confirmatory] if pairs is None else pairs
    possible = CHANGE_RANGE if is_share(plan.metric) else None
    return compare_arms(values, chosen, plan, margin=plan.margin, possible=possible)


def _table(rows: Sequence[Comparison], group: str) -> pd.DataFrame:
    return display_frame(
        comparison_table(rows, group=group), dict.fromkeys(("interval", "test", "role", "note"), "drop")
    )


def _runs(seeds: Sequence[int]) -> str:
    return f"{min(seeds)}–{max(seeds)}"


SENSITIVITY_MEASURES = by_name(seed_subset, contrast_by_step, uniform_questions, published_gap)
