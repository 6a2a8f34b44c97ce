"""EM against the weight of the format penalty, with the spread over prompts as bars."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure as Canvas

from analysis.frames import SHARE_RANGE, Frames
from analysis.seed_outcomes import final_step, seed_values
from analysis.stats.permutation import mean_interval
from analysis.stats.types import DegenerateInput
from reports.drawn_names import looks
from reports.figure_style import Caption, Figure, draw_legend, house_style, legend_height

PENALTY_SETTING = "reward.format_penalty"


def penalty_data(frames: Frames, spreads: pd.DataFrame | None = None, level: float = 0.95) -> pd.DataFrame:
    """stratum, penalty, arm, seeds, em, low, high, worst, best: the last two over prompts, empty where not evaluated.

    Raises DegenerateInput when the sweep does not vary PENALTY_SETTING.
    """
    arms = [a for a in frames.arms.values() if a.value(PENALTY_SETTING) is not None]
    if len({float(a.value(PENALTY_SETTING)) for a in arms}) < 2:
        raise DegenerateInput(f"the sweep does not vary {PENALTY_SETTING}")
    step = final_step(frames, "eval/em")
    rows = []
    for arm in arms:
        values = seed_values(frames, "eval/em", arm.label, step)
        if values.empty:
            continue
        e = mean_interval(values, level).within(SHARE_RANGE)
        ends = (e.interval.low, e.interval.high) if e.interval else (None, None)
        stratum = ", ".join(f"{k.rsplit('.', 1)[-1]}={v}" for k, v in arm.settings.items() if not _sets_it(k)) or "all"
        worst = best = None
        if spreads is not None and (spreads["arm"] == arm.label).any():
            mine = spreads[spreads["arm"] == arm.label]
            worst, best = float(mine["worst"].mean()), float((mine["worst"] + mine["spread"]).mean())
        rows.append((stratum, float(arm.value(PENALTY_SETTING)), arm.label, len(values), e.value, *ends, worst, best))
    columns = ["stratum", "penalty", "arm", "seeds", "em", "low", "high", "worst", "best"]
    return pd.DataFrame(rows, columns=columns).sort_values(["stratum", "penalty"], ignore_index=True)


def _sets_it(axis: str) -> bool:
    """Whether an axis is the penalty's own or a section that holds it (then it moves its other settings too)."""
    return axis == PENALTY_SETTING or PENALTY_SETTING.startswith(axis + ".")


def draw_format_penalty(frames: Frames, spreads: pd.DataFrame | None = None, level: float = 0.95) -> Figure:
    """`spreads` from `robustness.prompt_spreads`, None where nothing was evaluated under other prompts."""
    data = penalty_data(frames, spreads, level)
    look = looks(list(dict.fromkeys(data["stratum"])))
    with house_style():
        above = 0.2 + legend_height(look, 5.2) if len(look) > 1 else 0.0
        canvas = Canvas(figsize=(5.2, 3.0 + above), layout="constrained")
        axis = canvas.subplots()
        for stratum, style in look.items():
            rows = data[data["stratum"] == stratum]
            for row in rows.itertuples():
                if pd.notna(row.worst):
                    axis.plot([row.penalty] * 2, [row.worst, row.best], color=style.colour, linewidth=6, alpha=0.25)
                if pd.notna(row.low):
                    axis.plot([row.penalty] * 2, [row.low, row.high], color=style.colour, linewidth=1.2)
            axis.plot(rows["penalty"], rows["em"], color=style.colour, linestyle=style.dash, marker=style.marker)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("weight of the format penalty")
        axis.set_ylabel("Exact Match")
        if len(look) > 1:
            draw_legend(canvas, look)
    bars = "broad bars: best to worst prompt; " if data["worst"].notna().any() else ""
    caption = Caption(
        f"EM at the last evaluation against the format penalty; {bars}thin bars: interval over seeds",
        n_seeds=frames.seed_text(),
        n_questions=frames.question_text(),
        interval=f"{level:.0%} t interval over seeds",
        config_hash=frames.config_hash,
    )
    return Figure("em_by_penalty", "EM against the format penalty", caption, canvas, data)
