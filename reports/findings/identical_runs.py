"""Detection of identical runs: arms of one study or two with equal rewards, to the digit, at every common step."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from reports.packing.read_study import Study

REWARD_TRACE = "train/reward_mean"
AT_LEAST = 5
"""Common steps needed to call two runs identical: rewards of single batches may agree by chance."""


@dataclass(frozen=True)
class IdenticalRuns:
    """`seeds` of two arms, each named "study: arm", that agree at all of `steps` common steps."""

    first: str
    second: str
    seeds: int
    steps: int


def find_identical_runs(studies: Mapping[str, Study]) -> list[IdenticalRuns]:
    """Pairs of arms, of one study or two, in which some seed gave the same rewards at every step that both have."""
    runs = {
        f"{name}: {arm}": _runs(study, arm)
        for name, study in studies.items()
        if not study.small
        for arm in study.frames.arms
    }
    found = []
    for (first, a), (second, b) in itertools.combinations(runs.items(), 2):
        lengths = [len(steps) for seed in a.keys() & b.keys() if (steps := _agree(a[seed], b[seed]))]
        if lengths:
            found.append(IdenticalRuns(first, second, len(lengths), min(lengths)))
    return found


def _runs(study: Study, arm: str) -> dict[int, pd.Series]:
    rows = study.frames.values(REWARD_TRACE)
    rows = rows[rows["arm"] == arm]
    return {int(seed): g.set_index("step")["value"] for seed, g in rows.groupby("seed")}


def _agree(a: pd.Series, b: pd.Series) -> list[int]:
    """The common steps if both are alike at all of them, else none. Constant rewards are no evidence."""
    steps = a.index.intersection(b.index)
    alike = len(steps) >= AT_LEAST and a[steps].nunique() > 1 and (a[steps] == b[steps]).all()
    return [int(s) for s in steps] if alike else []
