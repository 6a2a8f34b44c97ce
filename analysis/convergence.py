"""Speed and stability of learning: area under the curve, time to a threshold, collapse, clip and KL traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import SeedValues, interval_columns, number_or_blank
from analysis.frames import Frames
from analysis.registered_plan import ArmContrast
from analysis.stats.curves import Reached, area, time_to_threshold
from analysis.stats.permutation import best_interval, seed_permutation
from analysis.stats.proportions import wilson
from analysis.stats.survival import logrank_permutation
from analysis.stats.types import DegenerateInput

SUSTAINED = 2
"""A threshold counts as reached when this many evaluations in a row hold it."""
COLLAPSE = 0.5
"""A run has collapsed when its last EM is below this share of its own best."""
STABILITY_TRACES = ("update/clip_fraction", "update/kl", "update/kl_old", "update/grad_norm", "update/entropy")


def seed_curves(frames: Frames, metric: str = "eval/em") -> dict[str, dict[int, pd.Series]]:
    """arm → seed → curve (index step). Steps missing in any trial are dropped, so that areas are comparable.

    Trials without a finite value are dropped as well; empty when no step is common to all.
    """
    table = frames.values(metric)
    table = table[np.isfinite(table["value"])]
    wide = table.pivot(index="step", columns="trial", values="value").dropna()
    if wide.empty:
        return {}
    owner = frames.trials.set_index("trial")[["arm", "seed"]]
    out: dict[str, dict[int, pd.Series]] = {arm: {} for arm in frames.arms}
    for trial in wide.columns:
        out[owner.at[trial, "arm"]][int(owner.at[trial, "seed"])] = wide[trial]
    return {arm: dict(sorted(runs.items())) for arm, runs in out.items() if runs}


def curve_areas(frames: Frames, metric: str = "eval/em") -> SeedValues:
    """("area", arm) → mean height of each seed's curve, for `compare_arms`."""
    return {
        ("area under the curve", arm): pd.Series({s: area(c.index, c) for s, c in runs.items()})
        for arm, runs in seed_curves(frames, metric).items()
    }


def default_threshold(frames: Frames, metric: str = "eval/em") -> float:
    """Half-way between the start and the best arm's final mean. It depends on the outcome and is therefore
    exploratory."""
    means = [pd.DataFrame(runs).mean(axis=1) for runs in seed_curves(frames, metric).values()]
    if not means:
        raise DegenerateInput(f"{metric} has no step that all trials share")
    start = float(np.mean([m.iloc[0] for m in means]))
    return (start + max(float(m.iloc[-1]) for m in means)) / 2


@dataclass(frozen=True)
class ThresholdTimes:
    """Time to a threshold by arm: `reached[arm][seed]`. `fixed`: it was set before any outcome."""

    threshold: float
    fixed: bool
    horizon: float
    reached: dict[str, dict[int, Reached]]

    def table(self) -> pd.DataFrame:
        """arm, seed, step, reached."""
        return pd.DataFrame(
            [(arm, s, r.time, r.reached) for arm, runs in self.reached.items() for s, r in runs.items()],
            columns=["arm", "seed", "step", "reached"],
        )


def threshold_times(frames: Frames, metric: str = "eval/em", threshold: float | None = None) -> ThresholdTimes:
    """Step at which each seed first holds the threshold for SUSTAINED evaluations; censored at the last step.

    `threshold` None: `default_threshold`, and the result is marked as not fixed in advance.
    """
    runs = seed_curves(frames, metric)
    if not runs:
        raise DegenerateInput(f"{metric} has no step that all trials share")
    level = default_threshold(frames, metric) if threshold is None else threshold
    reached = {a: {s: time_to_threshold(c.index, c, level, SUSTAINED) for s, c in by.items()} for a, by in runs.items()}
    horizon = max(float(c.index[-1]) for by in runs.values() for c in by.values())
    return ThresholdTimes(level, threshold is not None, horizon, reached)


def threshold_table(found: ThresholdTimes, contrasts: Sequence[ArmContrast], level: float = 0.95) -> pd.DataFrame:
    """contrast, reached (of seeds), restricted-mean difference in steps with interval and p, log-rank p, note.

    All runs share the horizon, so the restricted mean of an arm is the plain mean of min(time, horizon). Both tests are
    exact permutations of runs: the usual normal approximations reject too often with so few (see `calibrate`).
    """
    rows = []
    for c in contrasts:
        if c.treatment not in found.reached or c.baseline not in found.reached:
            continue
        (ta, ea), (tb, eb) = (
            ([r.time for r in found.reached[arm].values()], [r.reached for r in found.reached[arm].values()])
            for arm in (c.treatment, c.baseline)
        )
        ranks = logrank_permutation(ta, ea, tb, eb)
        steps, test = best_interval(ta, tb, level=level), seed_permutation(ta, tb)
        rows.append(
            {
                "contrast": c.label,
                "reached": f"{sum(ea)} of {len(ea)} v {sum(eb)} of {len(eb)}",
                "steps": number_or_blank(steps.value),
                **interval_columns(steps),
                "p": number_or_blank(test.p),
                "p_logrank": number_or_blank(ranks.p),
                "note": ranks.note or steps.note,
            }
        )
    return pd.DataFrame(rows, columns=["contrast", "reached", "steps", "low", "high", "p", "p_logrank", "note"])


def stability_table(frames: Frames, metric: str = "eval/em", level: float = 0.95) -> pd.DataFrame:
    """arm, runs, collapsed, rate, low, high, then the mean of each stability trace over steps and seeds.

    Collapsed: last value below COLLAPSE × the run's own best. Traces that were not logged are empty.
    """
    rows = []
    for arm, runs in seed_curves(frames, metric).items():
        last_to_best = [(float(c.iloc[-1]), float(c.max())) for c in runs.values()]
        fallen = sum(last < COLLAPSE * best for last, best in last_to_best)
        estimate = wilson(fallen, len(runs), level)
        row = {
            "arm": arm,
            "runs": len(runs),
            "collapsed": fallen,
            "rate": number_or_blank(estimate.value),
            **interval_columns(estimate),
        }
        for name in STABILITY_TRACES:
            values = frames.values(name)
            values = values.loc[values["arm"] == arm, "value"]
            values = values[np.isfinite(values)]
            row[name.split("/")[1]] = number_or_blank(float(values.mean()) if len(values) else None)
        rows.append(row)
    names = [n.split("/")[1] for n in STABILITY_TRACES]
    return pd.DataFrame(rows, columns=["arm", "runs", "collapsed", "rate", "low", "high", *names])
