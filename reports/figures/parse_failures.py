"""Parse failures: rates by hops, by kind, and transitions between turns."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.frames import Frames
from analysis.stats.types import DegenerateInput
from analysis.transitions import TURN_STATES
from reports.drawn_names import drawable, looks
from reports.figure_style import INK, Caption, Figure, draw_legend, house_style, legend_height
from reports.figures.arm_dots import draw_arm_dots


def draw_parse_rates(frames: Frames, table: pd.DataFrame, by: str) -> Figure:
    """`parse_reliability.parse_rates` by arm and one more column. Raises DegenerateInput for an empty table."""
    if table.empty:
        raise DegenerateInput(f"no turn has a known {by}")
    return draw_arm_dots(
        frames,
        table,
        by,
        "rate",
        name=f"parse_rate_by_{by}",
        title=f"Parse reliability by {by}",
        text=f"Share of Think-Action turns without a parse failure, by {by}, last evaluation",
        label="turns well formed",
        interval="95% Wilson with design effect, clusters are questions",
        top=1.005,
    )


def draw_parse_rate_by_step(frames: Frames, table: pd.DataFrame) -> Figure:
    """`parse_reliability.parse_rates` by arm and step: a line an arm, pointwise band."""
    if table["step"].nunique() < 2:
        raise DegenerateInput("parse reliability was evaluated at one step only")
    with house_style():
        look = looks(list(frames.arms))
        canvas = Canvas(figsize=(5.2, 3.0 + legend_height(look, 5.2)), layout="constrained")
        axis = canvas.subplots()
        for arm, style in look.items():
            rows = table[table["arm"].astype(str) == arm].sort_values("step")
            if rows.empty:
                continue
            low, high = (pd.to_numeric(rows[c]).fillna(rows["rate"]) for c in ("low", "high"))
            axis.fill_between(rows["step"], low, high, color=style.colour, alpha=0.15, linewidth=0)
            axis.plot(rows["step"], rows["rate"], color=style.colour, linestyle=style.dash, marker=style.marker,
                      markersize=3)  # fmt: skip
        bottom = min(pd.to_numeric(table["low"]).min(), table["rate"].min())
        bottom = 0.0 if not bottom >= 0.5 else math.floor(20 * bottom - 0.5) / 20
        axis.set_ylim(bottom, 1 + 0.02 * (1 - bottom))
        axis.set_xlabel("training step")
        axis.set_ylabel("turns well formed")
        draw_legend(canvas, look)
    cut = f"; the axis starts at {bottom:.2f}" if bottom else ""
    caption = Caption(
        f"Share of Think-Action turns without a parse failure in the greedy evaluations of training{cut}",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval="pointwise 95% Wilson with design effect, clusters are questions",
        config_hash=frames.config_hash,
    )
    return Figure("parse_rate_by_step", "Parse reliability by step", caption, canvas, table)


def draw_transitions(frames: Frames, tables: Mapping[str, pd.DataFrame], evaluations: str) -> Figure:
    """Heat map of transitions between turns, one panel an arm: shares as shade, counts as numbers; `evaluations` names
    them."""
    tables = {arm: t for arm, t in tables.items() if t.to_numpy().sum()}
    if not tables:
        raise DegenerateInput("no turn was recorded")
    sources = [s for s in TURN_STATES[:4] if any(t.loc[s].sum() for t in tables.values())]
    targets = [s for s in TURN_STATES if any(t[s].sum() for t in tables.values())]
    columns = min(2, len(tables))
    n_rows = math.ceil(len(tables) / columns)
    with house_style():
        canvas = Canvas(figsize=(0.9 + columns * (0.7 + 0.55 * len(targets)), n_rows * (1.2 + 0.4 * len(sources))),
                        layout="constrained")  # fmt: skip
        axes = canvas.subplots(n_rows, columns, squeeze=False, sharey=True)
        for axis in axes.flat[len(tables) :]:
            axis.set_visible(False)
        for axis, (arm, table) in zip(axes.flat, tables.items(), strict=False):
            counts = table.loc[sources, targets].to_numpy(dtype=float)
            total = counts.sum(axis=1, keepdims=True)
            share = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
            axis.pcolormesh(np.arange(len(targets) + 1), np.arange(len(sources) + 1), share, cmap="Blues", vmin=0,
                            vmax=1, edgecolors="white", linewidth=0.8)  # fmt: skip
            axis.set_ylim(len(sources), 0)  # not inverted: panels share the axis, and two turns make none
            for i in range(len(sources)):
                for j in range(len(targets)):
                    # These sit on a shade that pages do not recolour, so neither is the text.
                    colour = "#fefefe" if share[i, j] > 0.5 else "#101010"
                    axis.text(
                        j + 0.5, i + 0.5, f"{int(counts[i, j])}", ha="center", va="center", fontsize=8, color=colour
                    )
            axis.set_xticks(np.arange(len(targets)) + 0.5, targets, rotation=30, ha="right")
            axis.set_yticks(np.arange(len(sources)) + 0.5, sources)
            axis.grid(False)
            axis.set_title(drawable(arm))
        canvas.supxlabel("next turn", fontsize=9, color=INK)
        canvas.supylabel("turn", fontsize=9, color=INK)
    data = pd.concat(
        [t.stack().rename("count").rename_axis(["from", "to"]).reset_index().assign(arm=a) for a, t in tables.items()]
    )[["arm", "from", "to", "count"]]
    caption = Caption(
        "Transitions to the next turn: counts, shaded by their share of the row; “no answer” ends an episode "
        f"without one. Last step; evaluations pooled: {evaluations}",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval="",
        config_hash=frames.config_hash,
    )
    return Figure("failure_transitions", "Failure transitions", caption, canvas, data)
