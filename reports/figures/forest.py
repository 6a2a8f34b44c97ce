"""Forest plot: the difference of every contrast on every suite, with the margin and the significance after
correction."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.compare import Comparison, comparison_table, format_p
from analysis.frames import Frames
from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.stats.types import DegenerateInput
from analysis.summary import OVERALL
from analysis.verdict import differs, gate_passed
from reports.drawn_names import drawable
from reports.figure_style import GRID, INK, Caption, Figure, house_style
from reports.palette import COLOURS

TITLE_CHARS = 64
"""A line of a panel's title."""


def draw_forest(
    frames: Frames, rows: Sequence[Comparison], plan: AnalysisPlan, label: str = "Exact Match", name: str = "forest"
) -> Figure:
    """One panel a contrast, one line a group; filled marks are claimed to differ (`analysis.verdict`).

    Raises DegenerateInput if empty.
    """
    if not rows:
        raise DegenerateInput("no two arms differ in one setting: nothing to contrast")
    contrasts = list(dict.fromkeys(r.contrast for r in rows))
    groups = list(dict.fromkeys(r.group for r in rows))
    claimed = {(r.contrast, r.group) for r, may in zip(rows, gate_passed(rows, plan.alpha), strict=True)
               if may and differs(r, plan.alpha)}  # fmt: skip
    reach = [abs(v) for r in rows for v in _extent(r)]
    limit = 1.15 * max([*reach, plan.margin or 0.0, 1e-3])
    with house_style():
        titles = [_title(contrast) for contrast in contrasts]
        height = 0.6 + len(contrasts) * (0.55 + 0.24 * len(groups)) + 0.17 * sum(title.count("\n") for title in titles)
        canvas = Canvas(figsize=(6.4, height), layout="constrained")
        axes = canvas.subplots(len(contrasts), 1, sharex=True, squeeze=False)[:, 0]
        for axis, contrast, title in zip(axes, contrasts, titles, strict=True):
            mine = {r.group: r for r in rows if r.contrast == contrast}
            if plan.margin is not None:
                axis.axvspan(-plan.margin, plan.margin, color=GRID, alpha=0.6, linewidth=0, zorder=0)
            axis.axvline(0, color=INK, linewidth=0.8)
            for y, group in enumerate(groups):
                if group in mine:
                    _line(axis, y, mine[group], (contrast, group) in claimed)
            axis.set_yticks(range(len(groups)), [drawable(group) for group in groups])
            axis.set_ylim(len(groups) - 0.4, -0.6)
            axis.set_xlim(-limit, limit)
            axis.grid(False, axis="y")
            axis.set_title(title)
        axes[-1].set_xlabel(f"difference in {label}")
    margin = f"; grey band: margin ±{plan.margin:g}" if plan.margin is not None else ""
    starred = f"filled marks and asterisks: p ≤ {plan.alpha:g} after the correction over suites, and for their mean"
    evaluated = "all evaluations" if plan.over == "area" else "last evaluation"
    caption = Caption(
        f"Difference in {label}, {evaluated}; {starred}{margin}. {_primary(rows)}",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval="; ".join(dict.fromkeys(r.difference.interval.method for r in rows if r.difference.interval)),
        test="; ".join(dict.fromkeys(r.test.method for r in rows)),
        correction=f"{plan.correction_name} over suites within a contrast",
        config_hash=frames.config_hash,
    )
    return Figure(name, f"Differences in {label} by suite", caption, canvas, comparison_table(rows))


def _title(contrast: ArmContrast) -> str:
    role = "confirmatory" if contrast.confirmatory else "exploratory"
    stratum = f"; {contrast.stratum}" if contrast.stratum else ""
    return textwrap.fill(drawable(f"{contrast.label} ({role}{stratum})"), TITLE_CHARS)


def _primary(rows: Sequence[Comparison]) -> str:
    if any(r.group == OVERALL for r in rows):
        return f"“{OVERALL}” is the primary test and takes no part in the correction"
    return "Every group is one test"


def _extent(row: Comparison) -> list[float]:
    values = [row.difference.value or 0.0]
    if row.difference.interval and row.difference.interval.bounded:
        values += [row.difference.interval.low, row.difference.interval.high]
    return values


def _line(axis: Axes, y: int, row: Comparison, survives: bool) -> None:
    interval = row.difference.interval
    if interval:
        axis.plot([interval.low, interval.high], [y, y], color=COLOURS[0], linewidth=1.6, solid_capstyle="butt")
    face = COLOURS[0] if survives else "#ffffff"
    marker = "D" if row.group == OVERALL else "o"
    axis.plot([row.difference.value or 0.0], [y], marker, color=COLOURS[0], markerfacecolor=face, markersize=6)
    text = f"p {format_p(row.p_adjusted)}" + (" *" if survives else "")
    axis.annotate(text, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                  va="center", fontsize=8, annotation_clip=False)  # fmt: skip
