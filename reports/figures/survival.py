"""Kaplan–Meier curves with numbers at risk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from analysis.frames import Frames
from analysis.stats.survival import Survival
from analysis.stats.types import DegenerateInput
from reports.drawn_names import Look, looks
from reports.figure_style import Caption, Figure, draw_legend, house_style, legend_height


def draw_survival(
    frames: Frames, curves: Mapping[str, Survival], name: str, title: str, text: str, xlabel: str
) -> Figure:
    """One step curve an arm over turns, pointwise bands, the number at risk below. Raises DegenerateInput if empty."""
    curves = {arm: curves[arm] for arm in frames.arms if arm in curves and curves[arm].n}
    if not curves:
        raise DegenerateInput("no episode to time")
    look = {arm: style for arm, style in looks(list(frames.arms)).items() if arm in curves}
    last = max(float(c.time[-1]) for c in curves.values())
    marks = np.arange(0, int(last) + 1, max(1, math.ceil(last / 10)))
    bottom = min(float(c.low.min()) for c in curves.values())
    bottom = (
        0.0 if bottom < 0.6 else math.floor(20 * bottom - 0.5) / 20
    )  # where next to nothing happens, show that part
    with house_style():
        canvas = Canvas(figsize=(5.6, 3.3 + 0.17 * len(curves) + legend_height(look, 5.6)), layout="constrained")
        axis = canvas.subplots()
        for arm, curve in curves.items():
            style = look[arm]
            time = np.append(curve.time, curve.time[-1] + 0.5)  # so that a last step can be seen
            value, low, high = (np.append(v, v[-1]) for v in (curve.survival, curve.low, curve.high))
            axis.fill_between(time, low, high, step="post", color=style.colour, alpha=0.15, linewidth=0)
            axis.step(time, value, where="post", color=style.colour, linestyle=style.dash, marker=style.marker,
                      markersize=3)  # fmt: skip
        axis.set_ylim(bottom, 1 + 0.02 * (1 - bottom))
        axis.set_xlim(0, last + 0.5)
        axis.set_xticks(marks)
        axis.set_ylabel("share not yet")
        axis.set_xlabel(xlabel)
        draw_legend(canvas, look)
        _numbers_at_risk(axis, curves, look, marks)
    data = pd.concat(
        [
            pd.DataFrame(
                {"arm": arm, "time": c.time, "survival": c.survival, "low": c.low, "high": c.high}
                | {"at_risk": c.at_risk, "events": c.events}
            )
            for arm, c in curves.items()
        ],
        ignore_index=True,
    )
    cut = f"; the axis starts at {bottom:.2f}" if bottom else ""
    bands = sorted({c.band.partition(" (")[0] for c in curves.values()})
    notes = "".join(f". {arm}: {c.note}" for arm, c in curves.items() if c.note)
    caption = Caption(
        f"{text}{cut}. Episodes: {', '.join(f'{arm} {c.n}' for arm, c in curves.items())}{notes}",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=f"pointwise 95% {', '.join(bands)} by question; none can be estimated where a curve is 1 or 0",
        config_hash=frames.config_hash,
    )
    return Figure(name, title, caption, canvas, data)


def _numbers_at_risk(axis: Axes, curves: Mapping[str, Survival], look: Mapping[str, Look], marks: np.ndarray) -> None:
    """A small table under the axis, its columns at the marks; distances in points, so no layout can cut it off."""
    place: dict[str, Any] = {
        "xycoords": axis.get_xaxis_transform(),
        "textcoords": "offset points",
        "fontsize": 7,
        "va": "center",
    }
    axis.annotate("at risk", (0, 0), xytext=(-8, -40), ha="right", annotation_clip=False, **place)
    for i, (arm, curve) in enumerate(curves.items()):
        y = -51 - 10 * i
        axis.annotate(look[arm].name, (0, 0), xytext=(-14, y), ha="right", annotation_clip=False, **place)
        for mark in marks:
            text = str(_at_risk(curve, mark))
            axis.annotate(text, (mark, 0), xytext=(0, y), ha="center", annotation_clip=False, **place)


def _at_risk(curve: Survival, time: int) -> int:
    later = curve.time >= time
    return int(curve.at_risk[later][0]) if later.any() else 0
