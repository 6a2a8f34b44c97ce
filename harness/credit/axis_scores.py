"""The advantage axis against true credit: every estimator that trains, scored on the same episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from harness.config.schema import Objective
from harness.credit.estimator_scores import (
    CreditedUnits,
    credited_units,
    efficiency,
    efficiency_interval,
    rank_correlation,
    wrong_sign_share,
)
from harness.credit.unit_credit import UnitCredit
from harness.objectives.batch import unit_of_token
from harness.training.minibatch_advantages import minibatch_advantages
from harness.types import Group

ORACLE, RANDOM = "oracle: half of the forks", "random"
"""The rails between which estimators lie: credit by independent forks, and noise that knows nothing."""


def unit_advantages(groups: Sequence[Group], objective: Objective, seed: int) -> np.ndarray:
    """What training would give each unit of a minibatch of these groups, float64 [N], episode by episode.

    Raises ValueError as `minibatch_advantages`, and where an advantage is not finite.
    """
    trajectories = [t for g in groups for t in g.trajectories]
    made = minibatch_advantages(groups, objective, seed)
    if made.not_finite is not None:
        raise ValueError(f"{made.not_finite} is not finite")
    sizes = torch.tensor([len(t.turns) for t in trajectories])
    if not made.by_token:
        return made.value.repeat_interleave(sizes).numpy()
    first = torch.searchsorted(unit_of_token(trajectories), torch.arange(int(sizes.sum())))  # token of each unit
    return made.value[first].numpy()


def score_estimators(
    groups: Sequence[Group], credits: Sequence[UnitCredit], objectives: Mapping[str, Objective], seed: int
) -> pd.DataFrame:
    """Scores of each objective's advantages and of the two rails: estimator, efficiency with its 95 % interval over
    groups (`low`, `high`), wrong_sign, rank (units that are not final).

    `credits` are of the groups' trajectories, in order. The oracle's efficiency is judged by the forks that it did not
    use, and its interval is left out: it holds both halves' noise. Raises ValueError as `unit_advantages`.
    """
    trajectories = [t for g in groups for t in g.trajectories]
    lengths = [[len(turn.tokens) for turn in t.turns] for t in trajectories]
    units = credited_units(credits, lengths, [i for i, g in enumerate(groups) for _ in g.trajectories])
    estimates = {name: unit_advantages(groups, objective, seed) for name, objective in objectives.items()}
    estimates[RANDOM] = np.random.default_rng(seed).standard_normal(len(units.credit))
    rows = [_row(name, estimate, units) for name, estimate in estimates.items()]
    return pd.DataFrame([*rows, {"estimator": ORACLE, "efficiency": oracle_efficiency(units)}])


def oracle_efficiency(units: CreditedUnits) -> float:
    """Efficiency of credit by half of the forks against that by the other half: the mean of both directions."""
    pairs = ((0, 1), (1, 0))
    found = [efficiency(units.halves[a], replace(units, credit=units.halves[b])) for a, b in pairs]
    return float(np.mean(found))


def _row(name: str, estimate: np.ndarray, units: CreditedUnits) -> dict[str, object]:
    low, high = efficiency_interval(estimate, units)
    return {
        "estimator": name,
        "efficiency": efficiency(estimate, units),
        "low": low,
        "high": high,
        "wrong_sign": wrong_sign_share(estimate, units),
        "rank": rank_correlation(estimate, units),
    }
