"""Any statistic by arm and one more column: dots with intervals, arms side by side."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.frames import Frames
from analysis.stats.types import DegenerateInput
from reports.drawn_names import drawable, looks
from reports.figure_style import Caption, Figure, draw_legend, house_style, legend_height


def draw_arm_dots(
    frames: Frames,
    table: pd.DataFrame,
    by: str,
    value: str,
    *,
    name: str,
    title: str,
    text: str,
    label: str,
    interval: str,
    top: float | None = None,
) -> Figure:
    """Dots of column `value` with its interval (columns low, high), by `arm` (colour) and `by` (position).

    The table is one row an arm and group, as `Chapter.table` takes it; `text` begins the caption, `label` names the
    axis, whose upper end is `top` (None: automatic). Raises DegenerateInput for an empty table.
    """
    if table.empty:
        raise DegenerateInput(f"{title}: no value")
    groups = list(dict.fromkeys(table[by]))
    look = looks(list(frames.arms))
    with house_style():
        gap = min(0.16, 0.8 / len(look))  # between arms: those of one group stay clear of the next group's
        width = max(4.0, 1.6 + 0.7 * len(groups), len(groups) * len(look) * 0.08)
        canvas = Canvas(figsize=(width, 3.0 + legend_height(look, width)), layout="constrained")
        axis = canvas.subplots()
        for i, (arm, style) in enumerate(look.items()):
            rows = table[table["arm"].astype(str) == arm]
            if rows.empty:
                continue
            x = np.array([groups.index(g) for g in rows[by]]) + (i - (len(look) - 1) / 2) * gap
            for at, low, high in zip(x, rows["low"], rows["high"], strict=True):
                if low != "":
                    axis.plot([at, at], [low, high], color=style.colour, linewidth=1.5)
            axis.plot(x, rows[value], style.marker, color=style.colour, markersize=5)
        axis.set_xticks(range(len(groups)), [drawable(str(g)) for g in groups], rotation=0 if by == "hops" else 25)
        bottom = min([float(v) for v in table["low"] if v != ""] + [float(v) for v in table[value]])
        axis.set_ylim(max(0.0, math.floor(20 * bottom - 0.5) / 20) if bottom >= 0 else None, top)
        axis.set_xlabel(by)
        axis.set_ylabel(label)
        draw_legend(canvas, look, lines=False)
    start = axis.get_ylim()[0]
    caption = Caption(
        text if start <= 0 else f"{text}; the axis starts at {start:.2f}",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=interval,
        config_hash=frames.config_hash,
    )
    return Figure(name, title, caption, canvas, table)
