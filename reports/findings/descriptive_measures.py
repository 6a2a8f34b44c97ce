"""Descriptive measures: levels, learning curves and spreads of the arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis import convergence
from analysis.compare import format_p, interval_columns, number_or_blank
from analysis.outcome import metric_name, metric_outcome
from analysis.projected_power import planned_arms, pooled_sd, project_power
from analysis.registered_plan import contrasts
from analysis.seed_outcomes import final_step, seed_values
from analysis.stats.curves import Reached
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import wilson
from analysis.stats.types import DegenerateInput, Estimate
from reports.findings.measure_result import MeasureResult, by_name, format_level
from reports.packing.read_study import Study
from reports.published_tables import published
from reports.tables import display_frame

EM_METRIC = "eval/em"
REWARD_SPREAD = "train/reward_std"

OVER_SEEDS = "Means over seeds, t intervals."


def final_levels(study: Study, metrics: Sequence[str]) -> MeasureResult:
    """Means over seeds of `metrics` at the last step, by arm."""
    frames = study.frames
    logged = [m for m in metrics if frames.has(m)]
    table = _by_arm(study, logged, lambda arm, metric: seed_values(frames, metric, arm, final_step(frames, metric)))
    return MeasureResult("At the last step", table, notes=[OVER_SEEDS])


def _by_arm(study: Study, metrics: Sequence[str], values: Callable[[str, str], pd.Series]) -> pd.DataFrame:
    """A row an arm, a column a metric: mean of `values(arm, metric)`, one a seed, with its interval; – for none."""

    def cell(arm: str, metric: str) -> str:
        found = values(arm, metric)
        return "–" if found.empty else format_level(mean_interval(found, study.plan.level), metric)

    return pd.DataFrame([{"arm": arm} | {m: cell(arm, m) for m in metrics} for arm in study.frames.arms])


def metric_rises(study: Study) -> MeasureResult:
    """The registered metric at the start and at the end, and its change, by arm."""
    frames, metric = study.frames, study.plan.metric
    last = final_step(frames, metric)
    rows, changes = [], {}
    for arm in frames.arms:
        start, end = (seed_values(frames, metric, arm, step) for step in (0, last))
        found = [mean_interval(v, study.plan.level) for v in (start, end, end - start)]
        rows.append([arm, *(_three(e) for e in found)])
        changes[arm] = float((end - start).mean())
    name = metric_name(metric)
    columns = ["arm", f"{name} at the start", f"{name} at step {last}", "rise"]
    low, high = (pick(changes, key=changes.__getitem__) for pick in (min, max))
    sentence = f"The rise of {name} ranges from {changes[low]:+.3f} ({low}) to {changes[high]:+.3f} ({high})."
    return MeasureResult("Start, end and rise", pd.DataFrame(rows, columns=columns), [sentence], notes=[OVER_SEEDS])


def em_of_answered(study: Study) -> MeasureResult:
    """EM among episodes with an answer, at the start and at the end, by arm: the rise that is not format."""
    frames = study.frames
    last = final_step(frames, EM_METRIC)
    rows, ends_at, rises_by = [], [], []
    for arm in frames.arms:
        absent, right = (
            [seed_values(frames, metric, arm, step) for step in (0, last)] for metric in ("eval/no_answer", EM_METRIC)
        )
        among = [r / (1 - a) for r, a in zip(right, absent, strict=True)]
        cells = [mean_interval(v, study.plan.level) for v in (*absent, *among, among[1] - among[0])]
        rows.append([arm, *(_three(e) for e in cells)])
        ends_at.append(f"{among[0].mean():.3f} to {among[1].mean():.3f} ({arm})")
        rises_by.append(float((among[1] - among[0]).mean()))
    name, margin = metric_outcome(EM_METRIC), study.plan.margin
    below = margin is not None and max(map(abs, rises_by)) < margin
    beside = f": less than the margin of {name.amount(margin, signed=False)}" if below else ""
    columns = ["arm", "no answer, start", f"no answer, step {last}", "EM of answered, start", f"step {last}", "rise"]
    return MeasureResult(
        "Episodes without an answer, and EM among the others",
        pd.DataFrame(rows, columns=columns),
        [f"EM among answered episodes goes from {', '.join(ends_at)}{beside}. The rest of the rise is format."],
        notes=[OVER_SEEDS],
    )


def _three(estimate: Estimate) -> str:
    found = estimate.interval
    return f"{estimate.value:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found else "")


def values_by_seed(study: Study, metric: str) -> MeasureResult:
    """Final value of each seed, by arm: shows whether a difference is due to all runs or to one."""
    frames = study.frames
    last = final_step(frames, metric)
    values = {arm: seed_values(frames, metric, arm, last) for arm in frames.arms}
    names = sorted({int(s) for found in values.values() for s in found.index})
    rows = [
        {"arm": arm} | {f"seed {s}": f"{found[s]:.3f}" if s in found.index else "–" for s in names}
        for arm, found in values.items()
    ]
    return MeasureResult(f"{metric} at the last step, every seed", pd.DataFrame(rows))


def seed_courses(study: Study, metric: str, arm: str) -> MeasureResult:
    """Learning curve of each seed of an arm: separates a slow run from a failed one."""
    found = study.frames.values(metric)
    found = found[found["arm"] == arm].pivot(index="seed", columns="step", values="value").sort_index()
    rows = [
        {"seed": int(seed)} | {f"step {step}": f"{value:.3f}" for step, value in row.items()}
        for seed, row in found.iterrows()
    ]
    return MeasureResult(f"{metric} of {arm}, every seed at every evaluation", pd.DataFrame(rows))


def trace_means(study: Study, metrics: Sequence[str]) -> MeasureResult:
    """Means of training traces over all steps of each run, then over seeds."""

    def means(arm: str, metric: str) -> pd.Series:
        found = study.frames.values(metric)
        return found[(found["arm"] == arm) & np.isfinite(found["value"])].groupby("seed")["value"].mean()

    frames = study.frames
    table = _by_arm(study, [m for m in metrics if frames.has(m)], means)
    sentences = [_from_to(m, {arm: float(means(arm, m).mean()) for arm in frames.arms}) for m in table.columns[1:]]
    spreads = frames.values(REWARD_SPREAD)
    idle = [a for a in frames.arms if (rows := spreads[spreads["arm"] == a]["value"]).size and not rows.any()]
    if idle and REWARD_SPREAD in metrics:
        sentences.append(
            f"In every step of every run of {' and '.join(idle)} all rewards were equal, so nothing was learnt: "
            "contrasts with it compare a trained policy with the start policy."
        )
    return MeasureResult(
        "Training, mean over steps", table, sentences, short=next(iter(sentences), ""), notes=[OVER_SEEDS]
    )


def _from_to(metric: str, values: Mapping[str, float]) -> str:
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return f"{metric} ranges from {values[low]:.3g} ({low}) to {values[high]:.3g} ({high})."


def threshold_steps(study: Study, beside: Sequence[float] = ()) -> MeasureResult:
    """Steps to the plan's threshold, and the share of runs that never hold it; `beside`: additional thresholds."""
    plan = study.plan
    found = convergence.threshold_times(study.frames, plan.metric, plan.threshold)
    others = {f"{t:.3f}": convergence.threshold_times(study.frames, plan.metric, t) for t in beside}
    rows = []
    for arm, runs in found.reached.items():
        missed = sum(not r.reached for r in runs.values())
        never = wilson(missed, len(runs), plan.level)
        steps = float(np.mean([r.time for r in runs.values()]))
        row = {
            "arm": arm,
            "runs": len(runs),
            "steps": steps,
            "never": number_or_blank(never.value),
            **interval_columns(never),
        }
        row |= {f"steps to {t}": _steps(o.reached[arm].values()) for t, o in others.items()}
        rows.append(row)
    origin = "fixed before the runs" if found.fixed else "set after the fact, half-way from the start to the best arm"
    notes = [
        f"never: share of runs that do not hold it within {found.horizon:g} steps, Wilson interval; they count as "
        f"{found.horizon:g}. Mean steps over seeds, in brackets the number of runs that never hold it; other "
        "thresholds are set after the fact."
    ]
    distinct = {(r.time, r.reached) for runs in found.reached.values() for r in runs.values()}
    uniform = ["Every run of every arm holds the threshold from the same evaluation on: it does not separate the arms."]
    return MeasureResult(
        f"Steps until {plan.metric} holds {found.threshold:.3f} ({origin})",
        display_frame(pd.DataFrame(rows), {"steps": "number"}),
        [
            *(uniform if len(distinct) == 1 and len(found.reached) > 1 else []),
            *_ranks(study, [found, *others.values()]),
        ],
        notes=notes,
        tests=True,
    )


def _steps(runs: Iterable[Reached]) -> str:
    runs = list(runs)
    missed = sum(not r.reached for r in runs)
    return f"{np.mean([r.time for r in runs]):.3g}" + (f" ({missed})" if missed else "")


def _ranks(study: Study, found: Sequence[convergence.ThresholdTimes]) -> list[str]:
    """The registered pair's log-rank tests at all thresholds, corrected over them."""
    plan = study.plan
    pairs = [c for c in contrasts(study.frames, plan) if c.confirmatory]
    tests = [
        (row["contrast"], times.threshold, None if row["p_logrank"] == "" else float(row["p_logrank"]))
        for times in found
        for row in convergence.threshold_table(times, pairs, plan.level).to_dict("records")
    ]
    if not tests:
        return []
    adjusted = CORRECTIONS[plan.correction]([p for _, _, p in tests])
    parts = (f"{name} at {at:.3f} {format_p(p)}" for (name, at, _), p in zip(tests, adjusted, strict=True))
    return [f"Exploratory: time to a threshold, log-rank, p adj. of {'; '.join(parts)}."]


def seed_spread(study: Study) -> MeasureResult:
    """SD between seeds beside the published single-run differences: means over suites with means over benchmarks,
    single suites with single benchmarks."""
    frames, metric = study.frames, study.plan.metric
    try:
        found = project_power(frames, study.plan)
    except DegenerateInput as reason:
        return MeasureResult("Spread between seeds", None, [f"{str(reason)[0].upper()}{str(reason)[1:]}."])
    blocks = [b["rows"] for b in published()["ablation"]["blocks"]]
    single = [dict(zip(b, scores, strict=True)) for b in blocks for scores in zip(*b.values(), strict=True)]
    mean = [{name: float(np.mean(scores)) for name, scores in b.items()} for b in blocks]
    arms = planned_arms(frames, study.plan)
    suites = [pooled_sd(frames, f"{metric}/{s}", arms)[0] for s in frames.suites(metric + "/")]
    rows = [
        (
            "mean over suites, over benchmarks",
            f"{100 * found.sd:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]",
            mean,
        )
    ]
    if suites:
        rows.append(("one suite, one benchmark", _range_text(suites), single))
    table = [
        {
            "points of EM": name,
            "SD between seeds here": sd,
            "published, best − worst": _range_text([max(p.values()) - min(p.values()) for p in gaps]),
            "published, GSsPO − GRPO": _range_text([p["gsspo"] - p["grpo"] for p in gaps]),
        }
        for name, sd, gaps in rows
    ]
    step = final_step(frames, metric)
    by_arm = [f"{arm} {100 * seed_values(frames, metric, arm, step).std(ddof=1):.1f}" for arm in frames.arms]
    notes = [
        f"SD pooled over {' and '.join(arms)}; by arm (mean over suites): {', '.join(by_arm)}. "
        f"Held-out questions here: {frames.question_text()}. "
        "Published: the ablation's four benchmarks, with and without Search, one run each."
    ]
    short = f"SD between seeds {100 * found.sd:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}] points"
    return MeasureResult("Points of EM", pd.DataFrame(table), found.sentences, short=short, notes=notes, tests=True)


def _range_text(values: Sequence[float]) -> str:
    points = [100 * v for v in values]
    return f"{min(points):.1f} to {max(points):.1f}"


DESCRIPTIVE_MEASURES = by_name(
    threshold_steps, final_levels, metric_rises, em_of_answered, values_by_seed, seed_courses, trace_means, seed_spread
)
