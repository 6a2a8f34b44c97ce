"""The paper's tables beside our results, in its layout: objectives by benchmark, without and with Search."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from analysis.compare import format_share
from analysis.frames import Arm, Frames
from analysis.seed_outcomes import final_step, seed_values
from analysis.stats.permutation import mean_interval
from reports.tables import Table

_DATA = Path(__file__).with_name("published.yaml")


@cache
def published() -> dict[str, Any]:
    """Parsed content of published.yaml."""
    data: dict[str, Any] = yaml.safe_load(_DATA.read_text(encoding="utf-8"))
    return data


def ablation_table(frames: Frames) -> Table | None:
    """Published EM of the RL ablation over the suites of the paper, then ours; None when no arm is one of its rows.

    Ours is EM at the last step, mean over seeds ± half-width of the 95 % t interval. A suite of the offline world
    stands in the column of the benchmark whose kind of question it has.
    """
    data = published()
    spec, labels = data["ablation"], data["labels"]
    suites = list(spec["suites"])
    ours = [arm for arm in frames.arms.values() if _objective(frames, arm) in labels]
    if not ours:
        return None
    columns = [data["suites"][s] for s in suites]
    rows: list[list[str]] = []
    rules = []
    for block in spec["blocks"]:
        rules.append(len(rows))
        for name, values in block["rows"].items():
            rows.append([f"published, {block['name']}", labels[name], *(f"{v:.3f}" for v in values)])
    rules.append(len(rows))
    step = final_step(frames, "eval/em")
    stand_in = False
    for arm in sorted(ours, key=lambda a: list(labels).index(_objective(frames, a))):
        cells = []
        for suite in suites:
            text, analogue = _ours(frames, arm, suite, step, data["analogues"])
            stand_in |= analogue
            cells.append(text)
        rest = {k: v for k, v in arm.settings.items() if k != spec["axis"]}
        where = "ours" + "".join(f", {k.rsplit('.', 1)[-1]}={v}" for k, v in rest.items())
        rows.append([where, labels[_objective(frames, arm)], *cells])
    note = (
        "Ours on suites of the offline world, each in the column of the benchmark whose kind of question it has: "
        "levels do not compare, the order of the objectives may. "
        if stand_in
        else ""
    )
    caption = (
        f"{data['citation']}, RL ablation: one run each, no error bars. Ours: step {step}, mean over seeds "
        f"({frames.seed_text()}) ± half-width of the 95% t interval. {note}Configuration {frames.config_hash}."
    )
    frame = pd.DataFrame(rows, columns=["source", "objective", *columns])
    return Table("published_ablation", "The paper's ablation beside ours", frame, caption, frame, rules=tuple(rules))


def main_table(frames: Frames) -> Table | None:
    """The paper's seven-set table with ours below; None when none of our suites is one of its columns."""
    data = published()
    spec = data["main"]
    suites = list(spec["suites"])
    known = {data["analogues"].get(s, s) for s in frames.suites()}
    if not known & set(suites):
        return None
    rows = [["published", name, *(f"{a:.3f} / {b:.3f}" for a, b in values)] for name, values in spec["rows"].items()]
    related = data["related"]
    rows.append(["published", related["title"], *(f"{v:.3f}" for v in related["row"])])
    rules = [0, len(rows)]
    step = final_step(frames, "eval/em")
    for arm in frames.arms.values():
        rows.append(["ours", arm.label, *(_ours(frames, arm, s, step, data["analogues"])[0] for s in suites)])
    caption = (
        f"{data['citation']}: {spec['note']}. Search-R1: {related['note']}. Ours as in the ablation table; suites of "
        f"the offline world stand in for benchmarks, levels do not compare. Configuration {frames.config_hash}."
    )
    frame = pd.DataFrame(rows, columns=["source", "system", *(data["suites"][s] for s in suites)])
    return Table("published_main", "The paper's seven sets beside ours", frame, caption, frame, rules=tuple(rules))


def _objective(frames: Frames, arm: Arm) -> str | None:
    """The preset of an arm, swept or fixed."""
    axis = published()["ablation"]["axis"]
    base = frames.config.get("base") or {}
    found = arm.settings.get(axis, (base.get("objective") or {}).get("preset"))
    return None if found is None else str(found)


def _ours(frames: Frames, arm: Arm, suite: str, step: int, analogues: dict[str, str]) -> tuple[str, bool]:
    """(cell, whether a suite of the offline world stands in)."""
    names = [s for s in frames.suites() if s == suite] or [s for s in frames.suites() if analogues.get(s) == suite]
    if not names:
        return "–", False
    values = seed_values(frames, f"eval/em/{names[0]}", arm.label, step)
    if values.empty:
        return "–", names[0] != suite
    e = mean_interval(values)
    half = f" ± {format_share((e.interval.high - e.interval.low) / 2)}" if e.interval else ""
    return f"{format_share(e.value)}{half}", names[0] != suite
