"""Measures that test: the registered contrast and exploratory ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis import convergence
from analysis.compare import Comparison, compare_arms, comparison_table, format_p
from analysis.frames import CHANGE_RANGE, is_share
from analysis.outcome import Outcome, metric_name, metric_outcome, outcome_of
from analysis.registered_plan import AnalysisPlan, ArmContrast, contrasts
from analysis.seed_outcomes import final_step, seed_values
from analysis.stats.multiplicity import CORRECTIONS
from analysis.summary import OVERALL, summarise
from analysis.verdict import differs, findings, summarise_findings, verdict_of
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study
from reports.tables import display_frame

Rows = Sequence[tuple[Outcome, Comparison]]

CONFIRMATORY, DESCRIPTIVE = "confirmatory", "registered; descriptive, no verdict"
"""Roles of the registered contrast: of a design that could tell, and of one that could not."""


def registered_contrast(study: Study) -> MeasureResult:
    """The registered contrast, in every stratum of the other axes; several strata are corrected together, and their
    intervals hold together (Bonferroni)."""
    plan = study.plan
    rows = _registered(study, plan)
    head = f"Registered contrast: {plan.metric}{', area under the curve' if plan.over == 'area' else ''}"
    if not rows:
        absent = "The registered contrast cannot be computed from these results."
        return MeasureResult(head, None, (*study.registration.sentences, absent), tests=True)
    single = primary_rows(rows)
    first = correct_jointly(single, plan.correction)
    rest = [r for r in rows if (r.group, r.contrast) not in {(f.group, f.contrast) for f in first}]
    several, notes = len(first) > 1, []
    equivalence_p = [r.equivalence.p if r.equivalence else None for r in single]
    if several:
        wide = replace(plan, alpha=plan.alpha / len(first))
        found = {(r.group, r.contrast): r for r in _registered(study, wide)}
        first = [_widened(r, found[r.group, r.contrast]) for r in first]
        notes = [f"{len(first)} strata: p {plan.correction_name} over them, intervals of {100 * wide.level:g} % each."]
    name = outcome_of(plan)
    return MeasureResult(
        head,
        _comparisons([*first, *rest], several),
        summarise_findings(findings([*first, *rest], plan, name), plan, name),
        [verdict_of(r, plan.alpha) for r in first],
        _short(first, several),
        CONFIRMATORY,
        [*first, *rest],
        notes,
        equivalence_p=equivalence_p,
        tests=True,
    )


def withdraw_verdict(measured: MeasureResult) -> MeasureResult:
    """`measured` of a design that could not tell: without verdicts and test sentences; tables stay as data."""
    if not measured.tests:
        return measured
    if measured.role != CONFIRMATORY:
        return replace(measured, sentences=(), short="")
    first = measured.rows[: len(measured.verdicts)]
    return replace(
        measured, role=DESCRIPTIVE, verdicts=(), equivalence_p=(), sentences=(), short="; ".join(_differences(first))
    )


def _widened(row: Comparison, wide: Comparison) -> Comparison:
    """`row` with the intervals of `wide`, of the difference and of the equivalence test."""
    same = row.equivalence
    if same is not None and wide.equivalence is not None:
        same = replace(same, interval=wide.equivalence.interval)
    return replace(row, difference=wide.difference, equivalence=same)


def axis_contrasts(
    study: Study, metrics: Sequence[str], axis: str | None = None, every_pair: bool = False, headline: str = ""
) -> MeasureResult:
    """Pairs of arms on an axis (the plan's, unless given), but for the registered one.

    Each against the baseline or, with `every_pair`, each against each; corrected over all rows. Only the registered
    metric has a margin. `headline`: the contrast (its label) that the overview shows, of the metric it differs most in.
    """
    plan, frames = study.plan, study.frames
    pairs = [c for c in contrasts(frames, plan) if c.axis == (axis or plan.axis)]
    rows: list[tuple[Outcome, Comparison]] = []
    for metric in metrics:
        if not frames.has(metric):
            continue
        step = final_step(frames, metric)
        values = {(metric, arm): seed_values(frames, metric, arm, step) for arm in frames.arms}
        mine = [c for c in (all_pairs(pairs) if every_pair else pairs) if metric != plan.metric or not c.confirmatory]
        margin = plan.margin if metric == plan.metric else None
        found = compare_arms(values, mine, plan, margin=margin, possible=CHANGE_RANGE if is_share(metric) else None)
        rows += [(metric_outcome(metric), r) for r in found]
    return _explored(rows, plan, f"Differences at the last step in {', '.join(metrics)}", headline)


def area_contrasts(study: Study, every_pair: bool = False, headline: str = "") -> MeasureResult:
    """Area under the learning curve; `headline` as of `axis_contrasts`."""
    plan = study.plan
    pairs = contrasts(study.frames, plan)
    values = convergence.curve_areas(study.frames, plan.metric)
    rows = compare_arms(values, all_pairs(pairs) if every_pair else pairs, plan)
    name = Outcome(f"the area under the curve of {metric_name(plan.metric)}")
    heading = f"Area under the curve of {plan.metric} (mean height, the start included)"
    return _explored([(name, r) for r in rows], plan, heading, headline)


def all_pairs(pairs: Sequence[ArmContrast]) -> list[ArmContrast]:
    """`pairs`, and of those that share a baseline and a stratum each treatment against each later one."""
    more = [
        ArmContrast(a.treatment, b.treatment, a.axis, a.stratum, False)
        for a, b in itertools.combinations(pairs, 2)
        if (a.baseline, a.stratum, a.axis) == (b.baseline, b.stratum, b.axis)
    ]
    return [*pairs, *more]


def primary_rows(rows: Sequence[Comparison]) -> list[Comparison]:
    """One row a contrast: the mean over suites, or the single group."""
    groups = {r.group for r in rows}
    return [r for r in rows if r.group == OVERALL or len(groups) == 1]


def correct_jointly(rows: Sequence[Comparison], correction: str) -> list[Comparison]:
    """Rows of one family: p of difference, of the claim of one and of equivalence corrected over them."""
    correct = CORRECTIONS[correction]
    exact, claims = correct([r.test.p for r in rows]), correct([r.uncorrected_claim for r in rows])
    out = [replace(r, p_adjusted=p, p_claim=q) for r, p, q in zip(rows, exact, claims, strict=True)]
    same = correct([r.equivalence.p if r.equivalence else None for r in rows])
    return [
        replace(r, equivalence=replace(r.equivalence, p=p)) if r.equivalence else r
        for r, p in zip(out, same, strict=True)
    ]


def _registered(study: Study, plan: AnalysisPlan) -> list[Comparison]:
    return [r for r in summarise(study.frames, plan).contrasts if r.contrast.confirmatory]


def _explored(rows: Rows, plan: AnalysisPlan, heading: str, headline: str = "") -> MeasureResult:
    """Exploratory rows, corrected over each other, with a sentence for each outcome."""
    joint = correct_jointly([r for _, r in rows], plan.correction)
    names = list(dict.fromkeys(o for o, _ in rows))
    sentences = []
    for name in names:
        mine = [r for (o, _), r in zip(rows, joint, strict=True) if o == name]
        differ = [r for r in mine if differs(r, plan.alpha)]
        least = min((r.p_adjusted for r in mine if r.p_adjusted is not None), default=None)
        if differ:
            sentences.append(
                f"Exploratory: {name.name} differs: {'; '.join(_difference_text(r, name) for r in differ)}."
            )
        else:
            sentences.append(f"Exploratory: no row shows a difference in {name.name} (least p adj. {format_p(least)}).")
    table = _comparisons(joint, any(r.contrast.stratum for r in joint)).drop(columns="suite", errors="ignore")
    if len(names) > 1:
        table.insert(0, "of", [o.name for o, _ in rows])
    notes = [f"p adj.: {plan.correction_name} over the {len(joint)} rows."] if len(joint) > 1 else []
    shows = [(o, r) for (o, _), r in zip(rows, joint, strict=True) if r.contrast.label == headline]
    most = min(shows, key=lambda x: 1.0 if x[1].p_adjusted is None else x[1].p_adjusted, default=None)
    short = f"{most[0].name}: {_difference_text(most[1], most[0])}" if most else ""
    return MeasureResult(heading, table, sentences, short=short, notes=notes, tests=True)


def _difference_text(row: Comparison, name: Outcome) -> str:
    found = row.difference.interval
    interval = f" [{name.digits(found.low)}, {name.digits(found.high)}]" if found else ""
    return f"{row.contrast.label} {name.amount(row.difference.value)}{interval}, p adj. {format_p(row.p_adjusted)}"


def _comparisons(rows: Sequence[Comparison], strata: bool) -> pd.DataFrame:
    frame = comparison_table(rows)
    if frame.empty:
        return frame
    if strata:
        frame.insert(1, "within", [r.contrast.stratum for r in rows])
    if frame["suite"].nunique() == 1:
        frame = frame.drop(columns="suite")
    if not any(frame["p_equivalence"].astype(str)):  # no row has a margin
        frame = frame.drop(columns="p_equivalence")
    return display_frame(frame, dict.fromkeys(("interval", "test", "role"), "drop"))


def _short(rows: Sequence[Comparison], several: bool) -> str:
    ps = [str(v) for v in display_frame(comparison_table(rows))["p adj." if several else "p"]]
    return "; ".join(f"{part}, p {p}" for part, p in zip(_differences(rows), ps, strict=True))


def _differences(rows: Sequence[Comparison]) -> list[str]:
    texts = [str(v) for v in display_frame(comparison_table(rows))["difference"]]
    intervals = [r.difference.interval for r in rows]
    return [
        f"{text} [{i.low:+.3f}, {i.high:+.3f}]" if i is not None else text
        for text, i in zip(texts, intervals, strict=True)
    ]


CONTRAST_MEASURES = by_name(registered_contrast, axis_contrasts, area_contrasts)
