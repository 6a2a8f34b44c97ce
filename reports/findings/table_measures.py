"""Measures from the stored tables of a report, computed from whole episodes at packing time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.compare import format_p
from analysis.parser_accuracy import PARSER_NOTE, parser_accuracy
from harness.operators.registry import resolve_pool
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study
from reports.tables import display_frame

POOL_AXIS = "environment.pool"

SPLIT_LABELS = {"eval": "greedy", "eval_sampled": "sampled"}

RENAMED_COLUMNS: Mapping[str, Mapping[str, str]] = {"faults_arm": {"hurt": "lost"}, "faults_fault": {"hurt": "lost"}}
"""Columns whose name has another meaning in another table."""


@cache
def table_legends() -> Mapping[str, str]:
    """Table → legend under it."""
    found: dict[str, str] = yaml.safe_load(Path(__file__).with_name("legends.yaml").read_text(encoding="utf-8"))
    return found


def parser_recovery(study: Study) -> MeasureResult:
    """The parser on known boundaries, the same whatever the study."""
    table = parser_accuracy()
    held_out = table.set_index("set").filter(like="held out", axis=0).iloc[0]
    sentence = (
        f"Of malformations that its recovery was not written for, the parser finds {held_out['boundaries']:.0%} of the "
        f"boundaries; {table['wrongly executed'].sum()} turns are executed without a clear call."
    )
    return MeasureResult("The parser on known boundaries", display_frame(table), [sentence], notes=[PARSER_NOTE])


def report_table(
    study: Study,
    name: str,
    columns: Sequence[str] = (),
    where: dict[str, Any] | None = None,
    most: dict[str, Any] | None = None,
    extremes: dict[str, Any] | None = None,
    total: str | None = None,
) -> MeasureResult:
    """A table of the report.

    Sentences: `extremes: {of: rate, by: [arm, hops]}`, least and greatest value of a column with their row keys;
    `total`, the sum of a column; and the least corrected p, where there is one.

    `most: {of: kind, by: failures, n: 5}` keeps the rows of the five kinds with the most failures, all arms together.
    """
    if name not in study.tables:
        return MeasureResult(name, None, [f"The report has no table {name}: no such case occurred."])
    frame = study.tables[name]
    for column, value in (where or {}).items():
        frame = frame[frame[column] == value]
    heading = f"`{name}` of the report"
    if most is not None:
        totals = frame.groupby(most["of"], sort=False)[most["by"]].sum().nlargest(most["n"])
        frame = frame[frame[most["of"]].isin(totals.index)]
        heading += f", by {most['of']} the {most['n']} with the most {most['by']}"
    sentences = [
        *(_extremes(name, frame, extremes["of"], extremes["by"]) if extremes else []),
        *_total(name, frame, total),
        *_least(name, frame),
    ]
    kept = frame[[c for c in columns if c in frame.columns]] if columns else frame
    kept = kept.rename(columns=RENAMED_COLUMNS.get(name, {}))
    return MeasureResult(
        heading,
        display_frame(kept.where(kept.notna(), "")),
        sentences,
        notes=[table_legends()[name]] if name in table_legends() else [],
    )


def _extremes(name: str, frame: pd.DataFrame, column: str, by: Sequence[str]) -> list[str]:
    """Least and greatest value of a column with the keys of their rows: text as it is, a number with its name."""
    if frame.empty:
        return []

    def value_text(row: pd.Series) -> str:
        parts = (row[c] if isinstance(row[c], str) else f"{c} {row[c]}" for c in by)
        return f"{row[column]:.3f} ({', '.join(parts)})"

    low, high = frame.loc[frame[column].idxmin()], frame.loc[frame[column].idxmax()]
    return [f"`{name}`: {column} from {value_text(low)} to {value_text(high)}."]


def _total(name: str, frame: pd.DataFrame, column: str | None) -> list[str]:
    return [f"`{name}`: {int(frame[column].sum())} {column} in all."] if column else []


def _least(name: str, frame: pd.DataFrame) -> list[str]:
    if "p_adjusted" not in frame or frame.empty:
        return []
    return [f"`{name}`: least p adj. of {len(frame)} rows {format_p(float(frame['p_adjusted'].min()))}."]


def operator_calls(study: Study, operators: Sequence[str]) -> MeasureResult:
    """Share of episodes that call `operators`, for arms whose pool has them, at the start and the end."""
    frame = study.tables["operator_use"]
    given = {label: resolve_pool(arm.settings[POOL_AXIS]) for label, arm in study.frames.arms.items()}
    last = int(frame["step"].max())
    rows, counts = [], {"eval": [0, 0], "eval_sampled": [0, 0]}
    for arm, operator in itertools.product(given, operators):
        if operator not in given[arm]:
            continue
        cells = {}
        for (split, name), (step, when) in itertools.product(SPLIT_LABELS.items(), ((0, "start"), (last, "end"))):
            found = frame[(frame["arm"] == arm) & (frame["split"] == split) & (frame["step"] == step)]
            called = int(found.loc[found["operator"] == operator, "called"].sum())  # no row: no arm called it
            episodes = int(found["episodes"].iloc[0])
            cells[f"{name}, {when}"] = f"{called} of {episodes}"
            if step == last:
                counts[split][0] += called
                counts[split][1] += episodes
        rows.append({"arm": arm, "operator": operator, **cells})
    names = " and ".join(operators)
    (called, asked), (sampled, drawn) = counts["eval"], counts["eval_sampled"]
    sentences = [
        f"At the end greedy answers of arms with {names} called them in {called} of {asked} cases, sampled ones in "
        f"{sampled} of {drawn} (a case: an episode and an operator)."
    ]
    if called <= asked / 100:
        sentences.append("So these comparisons test the operators' description in the prompt, not their use.")
    note = "Episodes that called the operator, of all; only arms whose pool has it."
    remark = f"{names} called in {called} of {asked} greedy cases"
    return MeasureResult(f"Calls of {names}", pd.DataFrame(rows), sentences, notes=[note], remark=remark)


TABLE_MEASURES = by_name(report_table, operator_calls, parser_recovery)
