"""Aggregate intervals (IQM, probability of improvement) and performance profiles."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.frames import Frames
from analysis.stats.types import DegenerateInput
from reports.drawn_names import drawable, looks
from reports.figure_style import INK, Caption, Figure, draw_legend, house_style, legend_height
from reports.palette import COLOURS

_INTERVAL = "95% t over whole seeds (a run's suites share its seed effect)"


def draw_aggregates(frames: Frames, table: pd.DataFrame) -> Figure:
    """`exact_match.aggregates`: IQM by arm, P(improvement) by contrast. Raises DegenerateInput if empty."""
    if table.empty:
        raise DegenerateInput("no arm was scored on every suite")
    parts = [(m, table[table["measure"] == m]) for m in ("IQM", "P(improvement)") if (table["measure"] == m).any()]
    with house_style():
        sizes = [len(rows) for _, rows in parts]
        longest = max(len(drawable(str(label))) for label in table["of"])
        if longest <= 20:
            canvas = Canvas(figsize=(6.4, 1.2 + 0.28 * max(sizes)), layout="constrained")
            axes = canvas.subplots(1, len(parts), squeeze=False)[0]
        else:  # names of several settings need the whole width
            width = 3.0 + 0.065 * longest
            canvas = Canvas(figsize=(width, 0.9 * len(parts) + 0.28 * sum(sizes)), layout="constrained")
            axes = canvas.subplots(len(parts), 1, squeeze=False, height_ratios=sizes)[:, 0]
        for axis, (measure, rows) in zip(axes, parts, strict=True):
            for y, row in enumerate(rows.itertuples()):
                if row.low != "":
                    axis.plot(
                        [row.low, row.high], [y, y], color=COLOURS[0], linewidth=5, alpha=0.35, solid_capstyle="butt"
                    )
                axis.plot([row.value], [y], "|", color=INK, markersize=12, markeredgewidth=2)
            axis.set_yticks(range(len(rows)), [drawable(str(label)) for label in rows["of"]])
            axis.set_ylim(len(rows) - 0.5, -0.5)
            axis.set_title(measure)
            axis.grid(False, axis="y")
            if measure == "P(improvement)":
                axis.set_xlim(-0.02, 1.02)
                axis.axvline(0.5, color=INK, linewidth=0.8)
    caption = Caption(
        "Interquartile mean of EM over seeds and suites; probability that a seed of the first arm beats one of the "
        "second on a suite (ties one half)",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=f"{_INTERVAL}, by the jackknife; none where seeds do not differ",
        config_hash=frames.config_hash,
    )
    return Figure("aggregates", "Aggregates over suites", caption, canvas, table)


def draw_performance_profile(frames: Frames, table: pd.DataFrame) -> Figure:
    """`exact_match.profiles`: share of (seed, suite) scores above each EM. Raises DegenerateInput if empty."""
    if table.empty:
        raise DegenerateInput("no arm was scored on every suite")
    with house_style():
        look = looks(list(frames.arms))
        canvas = Canvas(figsize=(5.2, 3.4 + legend_height(look, 5.2)), layout="constrained")
        axis = canvas.subplots()
        for arm, style in look.items():
            rows = table[table["arm"] == arm]
            if rows.empty:
                continue
            axis.fill_between(
                rows["threshold"], rows["low"], rows["high"], step="post", color=style.colour, alpha=0.15, linewidth=0
            )
            axis.step(rows["threshold"], rows["share"], where="post", color=style.colour, linestyle=style.dash,
                      marker=style.marker, markersize=3, markevery=10)  # fmt: skip
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1.02)
        axis.set_xlabel("Exact Match τ")
        axis.set_ylabel("share of (seed, suite) scores > τ")
        draw_legend(canvas, look)
    caption = Caption(
        "Performance profile: the share of runs' suite scores above each value of EM",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=f"pointwise {_INTERVAL}",
        config_hash=frames.config_hash,
    )
    return Figure("performance_profile", "Performance profile", caption, canvas, table)
