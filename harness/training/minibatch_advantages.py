"""Advantages of a minibatch by the objective's settings: of trajectories, and with turn credit of each turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.schema import Credit, Objective
from harness.env.turn_rewards import turn_rewards
from harness.objectives.advantages import ADVANTAGES
from harness.objectives.batch import turn_table, unit_of_token
from harness.objectives.credit_shuffle import shuffle_credit
from harness.objectives.ratio_units import layout_seed
from harness.objectives.turn_credit import turn_credit
from harness.training.finiteness import not_finite_credit
from harness.types import Group
from harness.types.own_code import chosen_function


@dataclass(frozen=True, slots=True)
class MinibatchAdvantages:
    """`value`, float64: [B] of trajectories, or [T] `by_token` (the same in a turn) where there is turn credit.

    `informative` [B]: whether any of a trajectory's advantages is not 0. `variance_within`: mean over trajectories of
    the variance (ddof 0) of advantages among a trajectory's units. `not_finite`: the quantity that is not, by name.
    """

    value: Tensor
    by_token: bool
    informative: Tensor
    variance_within: float
    not_finite: str | None = None


def minibatch_advantages(groups: Sequence[Group], objective: Objective, seed: int) -> MinibatchAdvantages:
    """Advantages of all trajectories of `groups`, in order. `seed` is the run's: only shuffled credit reads it.

    Raises:
        ValueError: if one's own estimator returns anything but a number a trajectory, or one's own turn reward
            anything but a finite one a turn.
    """
    trajectories = [t for g in groups for t in g.trajectories]
    rewards = torch.tensor([t.reward.total for t in trajectories], dtype=torch.float64)
    group = torch.tensor([i for i, g in enumerate(groups) for _ in g.trajectories])
    first = trajectories[0]  # of the whole minibatch, so the permutation is every worker's
    shuffle_seed = layout_seed(seed, first.sample_seed, first.question.id)
    advantage = _estimated(objective.advantage, rewards, group)
    if credited := not_finite_credit(rewards, advantage):
        return MinibatchAdvantages(advantage, False, advantage != 0, 0.0, credited)
    if objective.credit is None:
        if objective.credit_shuffle > 0:
            advantage = shuffle_credit(advantage, group, objective.credit_shuffle, shuffle_seed)
        return MinibatchAdvantages(advantage, False, advantage != 0, 0.0)
    owner = torch.tensor([i for i, t in enumerate(trajectories) for _ in t.turns])
    by_unit = advantage[owner] + _credit(objective.credit, groups)
    if objective.credit_shuffle > 0:  # among all turns of a group
        by_unit = shuffle_credit(by_unit, group[owner], objective.credit_shuffle, shuffle_seed)
    zeros = rewards.new_zeros(len(trajectories))
    units = zeros.index_add(0, owner, torch.ones_like(by_unit))
    mean = zeros.index_add(0, owner, by_unit) / units
    within = zeros.index_add(0, owner, (by_unit - mean[owner]) ** 2) / units
    informative = zeros.index_add(0, owner, by_unit.abs()) > 0
    return MinibatchAdvantages(by_unit[unit_of_token(trajectories)], True, informative, float(within.mean()))


def _credit(settings: Credit, groups: Sequence[Group]) -> Tensor:
    """Weighted turn credit of a minibatch's units, float64 [U]."""
    table = turn_table(groups, [turn_rewards(settings.source, t) for g in groups for t in g.trajectories])
    credit = turn_credit(
        table,
        returns=settings.returns,
        group=settings.group,
        scale=settings.scale,
        counts=settings.counts,
        normalize=settings.normalize,
        discount=settings.discount,
        trace=settings.trace,
    )
    credit = settings.weight * credit
    return credit.masked_fill(table.after_result, 0.0) if settings.turns == "before_result" else credit


def _estimated(estimator: str, rewards: Tensor, group: Tensor) -> Tensor:
    """float64 [B]. Raises ValueError if one's own estimator returns anything but B numbers; those that are not finite
    end the trial by name."""
    advantage = chosen_function(estimator, ADVANTAGES)(rewards, group).detach().double()
    if advantage.shape != rewards.shape:
        raise ValueError(f"objective.advantage {estimator}: {len(rewards)} finite numbers expected, got {advantage}")
    return advantage
