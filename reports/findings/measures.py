"""Numbers of FINDINGS.md: each measure maps a study's results to a table and sentences; the primary has verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis import convergence
from analysis.compare import Comparison, compare, comparison_table, ends, number
from analysis.frames import SHARE
from analysis.outlook import outlook
from analysis.plan import contrasts
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import wilson
from analysis.stats.results import DegenerateInput, Estimate
from analysis.summary import OVERALL, final_step, seed_values, summarise
from analysis.verdict import Verdict, digest, findings, judge
from reports.published import published
from reports.results.read import Study
from reports.tables import shown


@dataclass(frozen=True)
class Measured:
    """`table` holds display text under a heading, or None; `verdicts` of the registered contrasts, `short` the first
    of them in a few characters."""

    heading: str
    table: pd.DataFrame | None = None
    sentences: Sequence[str] = ()
    verdicts: Sequence[Verdict] = ()
    short: str = ""
    role: str = "exploratory"
    rows: Sequence[Comparison] = field(default=(), repr=False)


NAMES = {
    "eval/em": "EM",
    "eval/em_sampled": "EM of sampled answers",
    "eval/parse_ok_rate": "the share of well-formed turns",
    "eval_sampled/parse_ok_rate": "the share of well-formed turns (sampled answers)",
    "eval_fault/recovered": "P(right | fault)",
    "eval_prompt_distractor/em": "EM under the prompt with a distractor",
}
"""Metrics in sentences."""


def what(metric: str) -> str:
    return NAMES.get(metric, metric)


def overall(rows: Sequence[Comparison]) -> list[Comparison]:
    """One row a contrast: the mean over suites, or the only group there is."""
    groups = {r.group for r in rows}
    return [r for r in rows if r.group == OVERALL or len(groups) == 1]


def jointly(rows: Sequence[Comparison], correction: str) -> list[Comparison]:
    """Rows that are tested together, corrected over each other: their p and that of their equivalence."""
    correct = CORRECTIONS[correction]
    out = [replace(r, p_adjusted=p) for r, p in zip(rows, correct([r.test.p for r in rows]), strict=True)]
    same = correct([r.equivalence.p if r.equivalence else None for r in rows])
    return [
        replace(r, equivalence=replace(r.equivalence, p=p)) if r.equivalence else r
        for r, p in zip(out, same, strict=True)
    ]


def primary(study: Study) -> Measured:
    """The registered contrast, in every stratum of the other axes; several strata are corrected together."""
    plan = study.plan
    rows = [r for r in summarise(study.frames, plan).contrasts if r.contrast.confirmatory]
    head = f"Registered contrast: {plan.metric}"
    if not rows:
        told = "The registered contrast could not be made from these results."
        return Measured(head, None, (*study.registration.sentences, told))
    first = jointly(overall(rows), plan.correction)
    rest = [r for r in rows if (r.group, r.contrast) not in {(f.group, f.contrast) for f in first}]
    found = findings([*first, *rest], plan, what(plan.metric))
    several = len(first) > 1
    notes = [f"Corrected over {len(first)} strata by {plan.correction_name}."] if several else []
    return Measured(
        head,
        _comparisons([*first, *rest], several),
        [*digest(found, plan, what(plan.metric)), *notes],
        [judge(r, plan.alpha) for r in first],
        _short(first, several),
        "confirmatory",
        [*first, *rest],
    )


def contrast(study: Study, metric: str, axis: str | None = None) -> Measured:
    """Every pair on an axis (the plan's, unless given), on another metric or beside the registered pair."""
    plan = study.plan
    if not study.frames.has(metric):
        return Measured(metric, None, [f"{metric} was not logged."])
    rows = summarise(study.frames, replace(plan, metric=metric)).contrasts
    mine = [r for r in overall(rows) if r.contrast.axis == (axis or study.frames.config["analysis"]["primary"]["axis"])]
    return _explored(study, mine, f"Differences in {metric}", what(metric))


def areas(study: Study) -> Measured:
    """Area under the learning curve."""
    rows = compare(convergence.areas(study.frames, study.plan.metric), contrasts(study.frames, study.plan), study.plan)
    heading = f"Area under the curve of {study.plan.metric} (mean height)"
    return _explored(study, rows, heading, f"the area under the curve of {what(study.plan.metric)}")


def speed(study: Study) -> Measured:
    """Steps to a threshold, and the share of runs that never hold it."""
    plan = study.plan
    found = convergence.times(study.frames, plan.metric, plan.threshold)
    rows = []
    for arm, runs in found.reached.items():
        missed = sum(not r.reached for r in runs.values())
        never = wilson(missed, len(runs), plan.level)
        steps = float(np.mean([r.time for r in runs.values()]))
        rows.append({"arm": arm, "runs": len(runs), "steps": steps, "never": number(never.value), **ends(never)})
    origin = "fixed before the runs" if found.fixed else "set after the fact, half-way from the start to the best arm"
    heading = (
        f"Steps until {plan.metric} holds {found.threshold:.3f} ({origin}); never: share of runs that do not within "
        f"{found.horizon:g}, counted as {found.horizon:g}"
    )
    return Measured(heading, shown(pd.DataFrame(rows), {"steps": "number"}))


def levels(study: Study, metrics: Sequence[str]) -> Measured:
    """Means over seeds of some metrics at the last step, by arm."""
    frames = study.frames
    rows = []
    for arm in frames.arms:
        row: dict[str, Any] = {"arm": arm}
        for metric in metrics:
            if not frames.has(metric):
                continue
            values = seed_values(frames, metric, arm, final_step(frames, metric))
            estimate = mean_interval(values, study.plan.level)
            row[metric] = _level(estimate, metric)
        rows.append(row)
    return Measured("Last step, mean over seeds with t interval", pd.DataFrame(rows))


def seeds(study: Study, metric: str) -> Measured:
    """What each seed ended at, by arm: whether a difference is of all runs or of one."""
    frames = study.frames
    last = final_step(frames, metric)
    values = {arm: seed_values(frames, metric, arm, last) for arm in frames.arms}
    names = sorted({int(s) for found in values.values() for s in found.index})
    rows = [
        {"arm": arm} | {f"seed {s}": f"{found[s]:.3f}" if s in found.index else "–" for s in names}
        for arm, found in values.items()
    ]
    return Measured(f"{metric} at the last step, every seed", pd.DataFrame(rows))


def course(study: Study, metric: str, arm: str) -> Measured:
    """An arm's seeds, evaluation by evaluation: a slow run and one that failed look alike at a single step."""
    found = study.frames.values(metric)
    found = found[found["arm"] == arm].pivot(index="seed", columns="step", values="value").sort_index()
    rows = [
        {"seed": int(seed)} | {f"step {step}": f"{value:.3f}" for step, value in row.items()}
        for seed, row in found.iterrows()
    ]
    return Measured(f"{metric} of {arm}, every seed at every evaluation", pd.DataFrame(rows))


def traces(study: Study, metrics: Sequence[str]) -> Measured:
    """Means of training traces over all steps of each run, then over seeds."""
    frames = study.frames
    rows = []
    for arm in frames.arms:
        row: dict[str, Any] = {"arm": arm}
        for metric in metrics:
            found = frames.values(metric)
            found = found[(found["arm"] == arm) & np.isfinite(found["value"])]
            if found.empty:
                row[metric] = "–"
                continue
            estimate = mean_interval(found.groupby("seed")["value"].mean(), study.plan.level)
            row[metric] = _level(estimate, metric)
        rows.append(row)
    return Measured("Training, mean over steps, then over seeds with t interval", pd.DataFrame(rows))


def spread(study: Study) -> Measured:
    """The spread between seeds beside the differences that were published from one run each."""
    try:
        found = outlook(study.frames, study.plan)
    except DegenerateInput as reason:
        return Measured("Spread between seeds", None, [f"{str(reason)[0].upper()}{str(reason)[1:]}."])
    blocks = published()["ablation"]["blocks"]
    gaps = [max(c) - min(c) for b in blocks for c in zip(*b["rows"].values(), strict=True)]
    table = pd.DataFrame(
        [
            {
                "between seeds here": f"SD {100 * found.sd:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]",
                "published, best − worst objective": f"{100 * min(gaps):.1f} to {100 * max(gaps):.1f}, "
                f"median {100 * float(np.median(gaps)):.1f}",
            }
        ]
    )
    return Measured("Points of EM", table, found.sentences)


def table(
    study: Study,
    name: str,
    columns: Sequence[str] = (),
    where: dict[str, Any] | None = None,
    most: dict[str, Any] | None = None,
) -> Measured:
    """A table that the report made from whole episodes.

    `most: {of: kind, by: failures, n: 5}` keeps the rows of the five kinds with the most failures, all arms together.
    """
    if name not in study.tables:
        return Measured(name, None, [f"The report has no table {name}: nothing of the kind was seen."])
    frame = study.tables[name]
    for column, value in (where or {}).items():
        frame = frame[frame[column] == value]
    heading = f"`{name}` of the report"
    if most is not None:
        totals = frame.groupby(most["of"], sort=False)[most["by"]].sum().nlargest(most["n"])
        frame = frame[frame[most["of"]].isin(totals.index)]
        heading += f", by {most['of']} the {most['n']} with the most {most['by']}"
    kept = frame[[c for c in columns if c in frame.columns]] if columns else frame
    return Measured(heading, shown(kept.where(kept.notna(), "")))


MEASURES: dict[str, Callable[..., Measured]] = {
    "primary": primary,
    "contrast": contrast,
    "areas": areas,
    "speed": speed,
    "levels": levels,
    "seeds": seeds,
    "course": course,
    "traces": traces,
    "spread": spread,
    "table": table,
}
"""By the names that claims.yaml uses."""


SHARES = frozenset({"em", "f1", "lenient", "format_ok", "parse_ok_rate", "lazy", "clip_fraction", "recovered"})
"""Last words of metrics that lie between 0 and 1, and so do the ends of their intervals."""


def _level(estimate: Estimate, metric: str) -> str:
    if estimate.value is None:
        return "–"
    found = ends(estimate, within=SHARE if metric.rsplit("/", 1)[-1] in SHARES else None)
    interval = "" if found["low"] == "" else f" [{found['low']:.3g}, {found['high']:.3g}]"
    return f"{estimate.value:.3g}{interval}"


def _explored(study: Study, rows: Sequence[Comparison], heading: str, name: str) -> Measured:
    """Rows beside the registered one, corrected over each other; what they show is said, but is no confirmation."""
    plan = study.plan
    plain = jointly([replace(r, contrast=replace(r.contrast, confirmatory=False)) for r in rows], plan.correction)
    found = [f for f in findings(plain, plan, name) if f.verdict in (Verdict.HIGHER, Verdict.LOWER)]
    if found:
        sentences = [f.sentence for f in found]
    else:
        sentences = [f"Exploratory: no row shows a difference in {name}."] if plain else []
    return Measured(f"{heading}, corrected over the rows", _comparisons(plain, _strata(plain)), sentences)


def _strata(rows: Sequence[Comparison]) -> bool:
    return any(r.contrast.stratum for r in rows)


def _comparisons(rows: Sequence[Comparison], strata: bool) -> pd.DataFrame:
    frame = comparison_table(rows)
    if frame.empty:
        return frame
    if strata:
        frame.insert(1, "within", [r.contrast.stratum for r in rows])
    if frame["suite"].nunique() == 1:
        frame = frame.drop(columns="suite")
    return shown(frame, dict.fromkeys(("interval", "test", "role"), "drop"))


def _short(rows: Sequence[Comparison], several: bool) -> str:
    texts = [str(v) for v in shown(comparison_table(rows))["difference"]]
    intervals = [r.difference.interval for r in rows]
    parts = [
        f"{text} [{i.low:+.3f}, {i.high:+.3f}]" if i is not None else text
        for text, i in zip(texts, intervals, strict=True)
    ]
    ps = [str(v) for v in shown(comparison_table(rows))["p adj." if several else "p"]]
    return "; ".join(f"{part}, p {p}" for part, p in zip(parts, ps, strict=True))
