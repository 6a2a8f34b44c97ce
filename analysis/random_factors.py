"""Random factors of a plan (`analysis.random`): start policies, imitation seeds, search seeds swept as a sample.

    analysis:
      random: [policy.path]          # the unit of inference: its levels take the place of seeds
      random: [policy.path, seed]    # two crossed factors: every level of one with every level of the other

Their levels stand for others of their kind, so a contrast has them as units and not the runs below them: `Frames` of
arms without these axes, with one value a unit in the place of one a seed. Every test and interval then permutes, or
has as clusters, what the treatment was assigned to. Levels with every arm are paired, levels with one arm alone are
permuted between arms; the units of two crossed factors are their cells, contrasted by `stats.crossed_levels`. A further
factor that is nested in the first is averaged within it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from analysis.frames import Arm, Frames, short_hash
from analysis.registered_plan import AnalysisPlan, CrossedUnits
from analysis.stats.random_levels import Assignment, assignment
from analysis.stats.types import DegenerateInput
from harness.config.arm_names import arm_labels
from harness.config.identity import canonical_json
from harness.config.random_levels import SEED_FACTOR, nested_in

Run = tuple[str, int]
"""An arm as it was swept, and a seed."""
Levels = Mapping[Run, int]
"""Number of the level of a factor that each run has."""


def at_random_levels(frames: Frames, plan: AnalysisPlan) -> tuple[Frames, AnalysisPlan]:
    """`frames` with the units of the plan's random factors in the place of seeds, and the plan paired where they are
    crossed with the arms. Unchanged for a plan without random factors, and for one whose units are in place already.

    Raises DegenerateInput where levels are neither nested nor crossed, and for a factor that no arm varies.
    """
    if not plan.random or plan.at_levels:
        return frames, plan
    labels, settings = level_arms(frames, plan), _without_random(frames, plan)
    factors = _unit_factors(frames, plan.random)
    kinds = [_assignment(factor, axis, labels) for axis, factor in factors.items()]
    unit, *others = factors.values()
    crossed = None
    if others:
        columns = 1 + max(others[0].values())
        unit = {run: level * columns + others[0][run] for run, level in unit.items()}
        crossed = CrossedUnits(columns, *kinds)
    arms = {}
    for name in dict.fromkeys(labels.values()):
        own = [old for old, new in labels.items() if new == name]
        arms[name] = Arm(name, settings[own[0]], short_hash(sorted(frames.arms[old].config_hash for old in own)))
    merged = replace(
        frames,
        trials=_trials(frames.trials, labels, unit, arms),
        metrics=_metrics(frames.metrics, labels, unit),
        arms=arms,
    )
    paired = all(kind is Assignment.CROSSED for kind in kinds)
    return merged, replace(plan, paired=paired, crossed=crossed, at_levels=True)


def level_arms(frames: Frames, plan: AnalysisPlan) -> dict[str, str]:
    """Arm as it was swept → arm without the plan's random factors. Raises DegenerateInput for one that is not swept."""
    if not plan.random or plan.at_levels:
        return {arm: arm for arm in frames.arms}
    swept = [axis for axis in plan.random if axis != SEED_FACTOR]
    absent = [axis for axis in swept if not all(axis in arm.settings for arm in frames.arms.values())]
    if absent:
        raise DegenerateInput(f"analysis.random: {', '.join(absent)} is not swept")
    settings = _without_random(frames, plan)
    distinct = {canonical_json(s): s for s in settings.values()}
    names = dict(zip(distinct, arm_labels(list(distinct.values())), strict=True))
    return {old: names[canonical_json(s)] for old, s in settings.items()}


def _without_random(frames: Frames, plan: AnalysisPlan) -> dict[str, dict[str, Any]]:
    return {a: {k: v for k, v in arm.settings.items() if k not in plan.random} for a, arm in frames.arms.items()}


def _unit_factors(frames: Frames, random: Sequence[str]) -> dict[str, Levels]:
    """Levels of the first factor, and of the one that is crossed with it, if there is one: others are nested in it."""
    runs = [(str(arm), int(seed)) for arm, seed in frames.trials[["arm", "seed"]].itertuples(index=False)]
    found = {}
    for axis in random:
        keys = [canonical_json(s if axis == SEED_FACTOR else frames.arms[a].settings[axis]) for a, s in runs]
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        found[axis] = {run: number[key] for run, key in zip(runs, keys, strict=True)}
    first = found[random[0]]
    crossed = [axis for axis in random[1:] if not nested_in(list(found[axis].values()), list(first.values()))]
    return {axis: found[axis] for axis in (random[0], *crossed)}


def _assignment(levels: Levels, axis: str, labels: Mapping[str, str]) -> Assignment:
    """Whether the arms have levels of their own or share them."""
    by_arm: dict[str, dict[int, None]] = {}
    for (arm, _), level in levels.items():
        by_arm.setdefault(labels[arm], {})[level] = None
    sets = list(by_arm.values())
    kinds = {assignment(list(a), list(b)) for i, a in enumerate(sets) for b in sets[:i]}
    if len(kinds) > 1:
        raise DegenerateInput(f"levels of {axis} are shared by some arms and not by others")
    return kinds.pop() if kinds else Assignment.NESTED


def _placed(rows: pd.DataFrame, labels: Mapping[str, str], unit: Levels) -> pd.DataFrame:
    """Rows with their arm without random axes, and their unit as seed; trials named after both."""
    units = [unit[str(arm), int(seed)] for arm, seed in zip(rows["arm"], rows["seed"], strict=True)]
    out = rows.assign(arm=rows["arm"].map(labels), seed=pd.array(units, dtype="int64"))
    return out.assign(trial=out["arm"].astype(str) + " level " + out["seed"].astype(str))


def _metrics(rows: pd.DataFrame, labels: Mapping[str, str], unit: Levels) -> pd.DataFrame:
    keys = ["trial", "arm", "seed", "step", "metric"]
    return _placed(rows, labels, unit).groupby(keys, as_index=False, sort=False, observed=True)["value"].mean()


def _trials(rows: pd.DataFrame, labels: Mapping[str, str], unit: Levels, arms: Mapping[str, Arm]) -> pd.DataFrame:
    """One row a unit of an arm: included where one of its runs is. Runs that are not keep their own row."""
    placed = _placed(rows, labels, unit)
    used = placed[placed["included"]].drop_duplicates("trial")
    used = used.assign(config_hash=[arms[a].config_hash for a in used["arm"]])
    unused = placed[~placed["included"]]
    if unused.empty:
        return used.reset_index(drop=True)
    return pd.concat([used, unused.assign(trial=rows.loc[unused.index, "trial"])], ignore_index=True)
