"""Rollout groups: several episodes of each question, whose rewards an objective compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.distributed.collective import ALONE, Collective, reunite, share
from harness.engines.base import Engine
from harness.env.rollout import Environment, rollout
from harness.types import Group, Question


def rollout_groups(
    engine: Engine,
    environment: Environment,
    questions: Sequence[Question],
    group_size: int,
    seed: Sequence[int],
    temperature: float,
    workers: Collective = ALONE,
) -> list[Group]:
    """`group_size` episodes of each question, each with a random stream of its own, all derived from `seed`.

    Each of several `workers` plays its share of the groups and is given them all; who plays changes no stream.
    """
    states = np.random.SeedSequence(list(seed)).generate_state(len(questions) * group_size, np.uint64)
    seeds = np.array([int(s >> np.uint64(8)) for s in states]).reshape(len(questions), group_size)
    mine = share(workers, range(len(questions)))
    repeated = [questions[i] for i in mine for _ in range(group_size)]
    played = rollout(engine, environment, repeated, [int(s) for i in mine for s in seeds[i]], temperature)
    groups = [Group(questions[i], tuple(played[n * group_size : (n + 1) * group_size])) for n, i in enumerate(mine)]
    return reunite(workers, groups)
