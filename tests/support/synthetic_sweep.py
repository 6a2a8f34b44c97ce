"""A made-up sweep with known effects, for tests of analysis and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis.frames import Frames, arms_of, metrics_frame, trials_frame
from harness.config.arm_names import slug
from harness.runs.journal import Journal

ANALYSIS = {
    "primary": {"metric": "eval/em", "contrast": ["gsspo", "grpo"], "axis": "objective.preset"},
    "margin": 0.03,
    "alpha": 0.05,
    "correction": "holm",
}


def made_frames(
    effects: Mapping[str, float] | None = None,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    suites: Sequence[str] = ("one_hop", "two_hop"),
    steps: Sequence[int] = (0, 5, 10, 15, 20),
    seed_sd: float = 0.017,
    analysis: Mapping[str, Any] | None = ANALYSIS,
    unfinished: Sequence[str] = (),
) -> Frames:
    """Arms rise from .2 by `effects[arm]`, with a seed effect that grows along the run."""
    effects = effects or {"grpo": 0.10, "gspo": 0.12, "gsspo": 0.20}
    rng = np.random.default_rng(7)
    configs = {
        f"{slug(arm)}_seed{seed}": {"seed": seed, "steps": steps[-1], "objective": {"preset": arm, "kl_weight": 0.001}}
        for seed in seeds
        for arm in effects
    }
    arms = arms_of(configs, ["objective.preset"])
    trials, metrics = [], []
    for name, config in configs.items():
        arm = arms[name]
        gone = name in unfinished
        trials.append(
            {
                "trial": name,
                "arm": arm.label,
                "seed": config["seed"],
                "status": "unfinished" if gone else "done",
                "included": not gone,
                "reason": "no result" if gone else "",
                "steps": config["steps"],
                "config_hash": arm.config_hash,
            }
        )
        if gone:
            continue
        drift = rng.normal(0, seed_sd, len(suites))
        for step in steps:
            share = step / steps[-1] if steps[-1] else 0.0
            effect = effects[config["objective"]["preset"]]
            values = 0.2 + share * (effect + drift) + rng.normal(0, 0.004, len(suites)) * (step > 0)
            named = {f"eval/em/{s}": v for s, v in zip(suites, values, strict=True)} | {"eval/em": values.mean()}
            metrics += [
                {"trial": name, "arm": arm.label, "seed": config["seed"], "step": step, "metric": k, "value": float(v)}
                for k, v in named.items()
            ]
    order = dict.fromkeys(arm.label for arm in arms.values())
    by_label = {arm.label: arm for arm in arms.values()}
    sweep = {"name": "made", "analysis": analysis}
    return Frames("made", sweep, trials_frame(trials), metrics_frame(metrics), {a: by_label[a] for a in order})


def write_sweep(root: Path, frames: Frames, extra: Mapping[str, Any] | None = None) -> Path:
    """The frames as journals in a sweep's directory, through the harness's own writer."""
    values = list(dict.fromkeys(arm.settings["objective.preset"] for arm in frames.arms.values()))
    sweep = {**frames.config, "parameters": {"objective.preset": {"values": values}}, **(extra or {})}
    root.mkdir(parents=True, exist_ok=True)
    (root / "sweep.yaml").write_text(yaml.safe_dump(sweep, allow_unicode=True), encoding="utf-8")
    for row in frames.trials.itertuples():
        folder = root / "trials" / row.trial
        ticks = iter(range(1_700_000_000_000, 1_800_000_000_000))
        with Journal(folder, clock=lambda ticks=ticks: next(ticks)) as journal:
            preset = frames.arms[row.arm].settings["objective.preset"]
            config = {"seed": row.seed, "steps": row.steps, "objective": {"preset": preset, "kl_weight": 0.001}}
            (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
            for step, group in frames.metrics[frames.metrics["trial"] == row.trial].groupby("step"):
                journal.metrics(int(step), dict(zip(group["metric"], group["value"], strict=True)))
            if row.status == "done":
                journal.finish("k" * 64, {})
            elif row.status == "failed":
                journal.fail("k" * 64, "Traceback …\nMemoryError: no memory")
    return root


def factorial_frames(effect: float, extra: float) -> Frames:
    """2 × 2 arms of five seeds: `effect` of unit, `extra` where reduction is mean too; reduction shifts by .3."""
    rng = np.random.default_rng(0)
    configs = {
        f"{u}_{r}_{s}": {"seed": s, "objective": {"unit": u, "reduction": r}}
        for u in ("token", "turn")
        for r in ("sum", "mean")
        for s in range(5)
    }
    arms = arms_of(configs, ["objective.unit", "objective.reduction"])
    trials, metrics = [], []
    for name, config in configs.items():
        base = {"trial": name, "arm": arms[name].label, "seed": config["seed"]}
        u, r = config["objective"]["unit"] == "turn", config["objective"]["reduction"] == "mean"
        value = 0.3 + effect * u + 0.3 * r + extra * (u and r) + rng.normal(0, 0.01)
        trials.append(base | {"status": "done", "included": True, "reason": "", "steps": 10, "config_hash": name[:-2]})
        metrics.append(base | {"step": 10, "metric": "eval/em", "value": value})
    labels = {arm.label: arm for arm in arms.values()}
    return Frames("factors", {}, trials_frame(trials), metrics_frame(metrics), labels)
