"""Learning curves: how a metric moves with training, by suite and arm."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from analysis.frames import SHARE_RANGE, Frames, is_share
from analysis.stats.permutation import mean_interval
from analysis.stats.types import DegenerateInput
from analysis.summary import OVERALL
from reports.drawn_names import drawable, looks
from reports.figure_style import Caption, Figure, draw_legend, house_style, legend_height

CURVE_METRICS = {"eval/em": "Exact Match, greedy", "eval/em_sampled": "Exact Match, sampled"}
"""What learning curves are drawn of, where it was logged."""


def curve_data(frames: Frames, metric: str, level: float = 0.95, by_suite: bool = True) -> pd.DataFrame:
    """suite, arm, step, seeds, mean, low, high: seed mean and pointwise t interval (ends absent with one seed).

    A step is shown for an arm only if every one of its trials logged it: a mean over fewer seeds half-way would bend.
    Without `by_suite` only the mean over suites is given.
    """
    prefix = metric + "/"
    names = {suite: prefix + suite for suite in frames.suites(prefix)}
    if frames.metrics["metric"].eq(metric).any() and len(names) != 1:
        names[OVERALL if names else metric] = metric
    if not by_suite:
        names = dict(list(names.items())[-1:])
    rows = []
    for suite, name in names.items():
        table = frames.values(name)
        for arm in frames.arms:
            wide = table[table["arm"] == arm].pivot(index="step", columns="seed", values="value")
            for step, values in wide.dropna().iterrows():
                estimate = mean_interval(values, level).within(SHARE_RANGE if is_share(metric) else None)
                ends = (estimate.interval.low, estimate.interval.high) if estimate.interval else (None, None)
                rows.append((suite, arm, int(step), len(values), estimate.value, *ends))
    return pd.DataFrame(rows, columns=["suite", "arm", "step", "seeds", "mean", "low", "high"])


def draw_learning_curves(
    frames: Frames, metric: str = "eval/em", label: str = "Exact Match", level: float = 0.95, by_suite: bool = True
) -> Figure:
    """One panel a suite, or only that of their mean.

    Thin lines are seeds, thick lines their mean, bands the pointwise interval.
    The vertical axis is shared, starts at 0 and ends at most at 1 for shares; raises DegenerateInput without any value.
    """
    data = curve_data(frames, metric, level, by_suite)
    if data.empty:
        raise DegenerateInput(f"{metric} was never logged as a number by all seeds of an arm")
    suites = list(dict.fromkeys(data["suite"]))
    columns = min(2, len(suites))
    n_rows = math.ceil(len(suites) / columns)
    top = float(np.nanmax(data[["mean", "high"]].to_numpy(dtype=float)))
    mine = (frames.metrics["metric"] == metric) | frames.metrics["metric"].str.startswith(metric + "/")
    raw_top = float(frames.metrics.loc[mine, "value"].max())
    look = looks(list(frames.arms))
    with house_style():
        width = 3.4 * columns + 0.4
        canvas = Canvas(figsize=(width, 2.4 * n_rows + 0.5 + legend_height(look, width)), layout="constrained")
        axes = canvas.subplots(n_rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(suites) :]:
            axis.set_visible(False)
        for axis, suite in zip(axes.flat, suites, strict=False):
            name = metric if suite in (OVERALL, metric) else f"{metric}/{suite}"
            values = frames.values(name)
            for arm, style in look.items():
                for _, run in values[values["arm"] == arm].groupby("seed"):
                    run = run.sort_values("step")
                    axis.plot(run["step"], run["value"], color=style.colour, linewidth=0.5, alpha=0.45)
                rows = data[(data["suite"] == suite) & (data["arm"] == arm)]
                if rows.empty:
                    continue
                band = rows.dropna(subset=["low"])
                axis.fill_between(band["step"], band["low"].astype(float), band["high"].astype(float),
                                  color=style.colour, alpha=0.15, linewidth=0)  # fmt: skip
                axis.plot(rows["step"], rows["mean"], color=style.colour, linestyle=style.dash, marker=style.marker,
                          markersize=3, linewidth=1.8)  # fmt: skip
            axis.set_title(drawable(suite))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        highest = max(0.05, 1.05 * np.nanmax([top, raw_top]))
        axes.flat[0].set_ylim(0, min(1.0, highest) if raw_top <= 1 else highest)
        for axis in axes[:, 0]:
            axis.set_ylabel(label)
        for axis in axes.flat[max(0, len(suites) - columns) : len(suites)]:
            axis.set_xlabel("training step")
            axis.tick_params(labelbottom=True)
        draw_legend(canvas, look)
    caption = Caption(
        f"{label} during training: mean over seeds (thick), each seed (thin); step 0 is the start policy",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=f"pointwise {level:.0%} t interval over seeds" if data["low"].notna().any() else "",
        config_hash=frames.config_hash,
    )
    name = "learning_curves" if metric == "eval/em" else "learning_curves_" + metric.replace("/", "_")
    return Figure(name, f"Learning curves, {label}", caption, canvas, data)
