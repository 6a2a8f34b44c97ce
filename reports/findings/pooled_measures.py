"""Measures over the runs of several studies together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import convergence
from analysis.compare import format_p
from analysis.outcome import metric_name
from analysis.seed_outcomes import final_step, seed_values
from analysis.stats.multiplicity import CORRECTIONS
from analysis.stats.permutation import difference_interval, seed_permutation
from analysis.stats.types import Estimate, Test
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study

AREA = "area under the curve"


@dataclass(frozen=True, slots=True)
class _Row:
    """Difference of a metric at a place (the last step, or the area), over pairs."""

    metric: str
    place: str
    difference: Estimate
    test: Test

    @property
    def points(self) -> str:
        return f"{100 * (self.difference.value or 0.0):+.2f}"

    @property
    def interval(self) -> str:
        found = self.difference.interval
        return f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]" if found else "–"


def paired_by_seed(studies: Sequence[Study], pair: Sequence[str], metrics: Sequence[str]) -> MeasureResult:
    """Difference of two arms over the seed pairs of all `studies`: at the last step, and of areas under the curve.

    A pair is the two runs of a seed in one study, which excludes differences between studies. p: sign flips of pairs;
    interval: Student's t on their differences. Exploratory, and corrected over all rows. Raises ValueError where the
    studies end at different steps or share a seed, which would count a run twice.
    """
    a, b = pair
    plan = studies[0].plan
    logged = [m for m in metrics if all(s.frames.has(m) for s in studies)]
    places = _places(studies, logged)
    rows = []
    for metric in logged:
        for place, values in places.items():
            x, y = (_pooled([values(s, metric, arm) for s in studies]) for arm in (a, b))
            seeds = x.index.intersection(y.index)
            found = difference_interval(x[seeds], y[seeds], paired=True, level=plan.level)
            rows.append(_Row(metric, place, found, seed_permutation(x[seeds], y[seeds], paired=True)))
    adjusted = [format_p(p) for p in CORRECTIONS[plan.correction]([r.test.p for r in rows])]
    table = pd.DataFrame(
        {
            "of": [metric_name(r.metric) for r in rows],
            "at": [r.place for r in rows],
            "pairs": [str(r.difference.n) for r in rows],
            f"{a} − {b}, points": [r.points for r in rows],
            "interval": [r.interval for r in rows],
            "p": [format_p(r.test.p) for r in rows],
            "p adj.": adjusted,
        }
    )
    texts = [
        f"{r.points} points {r.interval} ({r.place}; p {format_p(r.test.p)}, p adj. {p})"
        for r, p in zip(rows, adjusted, strict=True)
    ]
    by_metric = {m: ", ".join(t for r, t in zip(rows, texts, strict=True) if r.metric == m) for m in logged}
    sentences = [f"Exploratory: {metric_name(m)}, {a} − {b}: {text}." for m, text in by_metric.items()]
    runs = " and ".join(f"{s.name} (seeds {_range(s)})" for s in studies)
    notes = [
        f"Pairs of {runs}. p: sign flips of pairs; p adj.: {plan.correction_name} over the {len(rows)} rows; "
        "intervals: t on the differences of pairs. Points: hundredths, of the reward too. Area under the curve: mean "
        "height, the start included. Plain EM is of greedy answers.",
    ]
    short = f"{metric_name(rows[0].metric)}: {a} − {b} {texts[0]}"
    heading = f"{a} − {b} over the seed pairs of {len(studies)} studies"
    return MeasureResult(heading, table, sentences, short=short, notes=notes, tests=True)


def _places(studies: Sequence[Study], metrics: Sequence[str]) -> Mapping[str, Callable[[Study, str, str], pd.Series]]:
    """Place of comparison → function of (study, metric, arm) to values by seed."""
    steps = {final_step(s.frames, m) for s in studies for m in metrics}
    if len(steps) != 1:
        raise ValueError(f"{', '.join(s.name for s in studies)}: last steps differ: {sorted(steps)}")
    (last,) = steps

    def area(study: Study, metric: str, arm: str) -> pd.Series:
        ((_, found),) = [(k, v) for k, v in convergence.curve_areas(study.frames, metric).items() if k[1] == arm]
        return found

    return {f"step {last}": lambda study, metric, arm: seed_values(study.frames, metric, arm, last), AREA: area}


def _pooled(values: Sequence[pd.Series]) -> pd.Series:
    found = pd.concat(values)
    if found.index.has_duplicates:
        twice = sorted(int(s) for s in set(found.index[found.index.duplicated()]))
        raise ValueError(f"seeds {twice} occur in two of the studies")
    return found.sort_index()


def _range(study: Study) -> str:
    seeds = study.frames.trials.loc[study.frames.trials["included"], "seed"]
    return f"{seeds.min()}–{seeds.max()}"


PAIRED_MEASURES = by_name(paired_by_seed)
