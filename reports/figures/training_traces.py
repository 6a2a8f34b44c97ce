"""Training traces: reward spread, gradient norm, clip fraction, KL, parse rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from analysis.frames import Frames
from analysis.stats.permutation import mean_interval
from analysis.stats.types import DegenerateInput
from reports.drawn_names import looks
from reports.figure_style import Caption, Figure, draw_legend, house_style, legend_height

TRACE_TITLES = {
    "train/reward_std": "reward SD within groups",
    "update/grad_norm": "gradient norm",
    "update/clip_fraction": "clip fraction",
    "update/kl": "KL to the start policy",
    "update/kl_old": "KL to the sampling policy",
    "train/parse_ok_rate": "turns well formed",
}


def trace_data(frames: Frames, metrics: Mapping[str, str], level: float = 0.95) -> pd.DataFrame:
    """metric, arm, step, seeds, mean, low, high over the steps that every seed of an arm logged."""
    rows = []
    for metric in metrics:
        table = frames.values(metric)
        for arm in frames.arms:
            wide = table[table["arm"] == arm].pivot(index="step", columns="seed", values="value")
            wide = wide.replace([np.inf, -np.inf], np.nan).dropna()
            for step, values in wide.iterrows():
                e = mean_interval(values, level)
                ends = (e.interval.low, e.interval.high) if e.interval else (None, None)
                rows.append((metric, arm, int(step), len(values), e.value, *ends))
    return pd.DataFrame(rows, columns=["metric", "arm", "step", "seeds", "mean", "low", "high"])


def draw_training_traces(frames: Frames, metrics: Mapping[str, str] = TRACE_TITLES, level: float = 0.95) -> Figure:
    """One panel a trace that was logged; raises DegenerateInput when none was."""
    data = trace_data(frames, metrics, level)
    if data.empty:
        raise DegenerateInput("no training trace was logged")
    names = list(dict.fromkeys(data["metric"]))
    columns = min(2, len(names))
    n_rows = math.ceil(len(names) / columns)
    with house_style():
        look = looks([arm for arm in frames.arms if (data["arm"] == arm).any()])
        width = 3.4 * columns
        canvas = Canvas(figsize=(width, 1.9 * n_rows + 0.4 + legend_height(look, width)), layout="constrained")
        axes = canvas.subplots(n_rows, columns, sharex=True, squeeze=False)
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, names, strict=False):
            for arm, style in look.items():
                rows = data[(data["metric"] == name) & (data["arm"] == arm)]
                if rows.empty:
                    continue
                low, high = (rows[c].astype(float).fillna(rows["mean"]) for c in ("low", "high"))
                axis.fill_between(rows["step"], low, high, color=style.colour, alpha=0.15, linewidth=0)
                axis.plot(rows["step"], rows["mean"], color=style.colour, linestyle=style.dash, linewidth=1.4,
                          marker=style.marker, markersize=3, markevery=max(1, len(rows) // 8))  # fmt: skip
            axis.set_title(metrics[name])
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
            if (data.loc[data["metric"] == name, "mean"] >= 0).all():
                axis.set_ylim(bottom=0)
        for axis in axes.flat[max(0, len(names) - columns) : len(names)]:
            axis.set_xlabel("training step")
            axis.tick_params(labelbottom=True)
        draw_legend(canvas, look)
    caption = Caption(
        "Health of training, means over seeds; an axis with positive values only starts at 0",
        n_seeds=frames.seed_text(),
        n_questions="training batches",
        interval=f"pointwise {level:.0%} t interval over seeds" if data["low"].notna().any() else "",
        config_hash=frames.config_hash,
    )
    return Figure("training_traces", "Training traces", caption, canvas, data)
