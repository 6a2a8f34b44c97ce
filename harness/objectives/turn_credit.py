"""Turn credit: rewards of turns to one advantage a turn. Four axes, each a dictionary here:

    return (of a turn's rewards)  ->  comparison (with which turns)  ->  scale

| axis | values |
|---|---|
| return | `broadcast`: sum of the episode; `to_go`: sum_j gamma^(j-k) r_j over j >= k; `telescoped`: see below |
| comparison | `question`, `batch`; `question_turn`: same question and turn index |
| | `anchor`: same question and set of observations read (GiGPO, arXiv 2505.10978) |
| | `leave_one_out`: the question's other episodes |
| scale | `none`; `std`: the group's + 1e-6; `batch_std`: of all centred returns; `mean`: the group's, returns >= 0 |
| counts | what counts once in a group's mean and deviation: `trajectory`, `unit` (turn) or `token` |

`telescoped`: V(s) is the mean `to_go` return of the comparison group, and A_k = sum_j (gamma trace)^j d_(k+j) with
d_k = r_k + gamma V(s_(k+1)) - V(s_k) and V = 0 after the last turn: GAE (1506.02438) with a value read off the group in
place of a critic (GAGPO, 2605.13217). At gamma = 1, trace = 0 the credit of an episode adds up to R - V(s_0).

A group of one (counted) member, or of equal returns, gives exactly 0. Standard deviations have ddof 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from harness.objectives.advantages import STD_EPSILON

if TYPE_CHECKING:  # configuration reads the names of the axes, and imports no torch
    from torch import Tensor

    from harness.objectives.turn_table import TurnTable

Counts = Literal["trajectory", "unit", "token"]


@dataclass(frozen=True, slots=True)
class TurnGroup:
    """`labels` [U] of the groups that turns are compared in; `others`: with the turns of other episodes alone."""

    labels: Callable[[TurnTable], Tensor]
    others: bool = False


def _pairs(first: Tensor, second: Tensor) -> Tensor:
    return first * (int(second.max()) + 1 if len(second) else 1) + second


COMPARISONS: dict[str, TurnGroup] = {
    "question": TurnGroup(lambda t: t.question),
    "question_turn": TurnGroup(lambda t: _pairs(t.question, t.index)),
    "anchor": TurnGroup(lambda t: t.state),
    "leave_one_out": TurnGroup(lambda t: t.question, others=True),
    "batch": TurnGroup(lambda t: t.question * 0),
}
RETURNS = ("broadcast", "to_go", "telescoped")
SCALES = ("std", "none", "batch_std", "mean")
TELESCOPED_SCALES = ("none", "batch_std")
"""Those of `telescoped` differences, which are not centred: a group of equal ones has nothing to divide by."""


def turn_credit(
    table: TurnTable,
    *,
    returns: str,
    group: str,
    scale: str,
    counts: Counts = "unit",
    normalize: Literal["returns", "rewards"] = "returns",
    discount: float = 1.0,
    trace: float = 0.0,
) -> Tensor:
    """Credit of each turn, float64 [U].

    Args:
        returns, group, scale, counts: the axes, see the module.
        normalize: `rewards` compares and scales each turn's reward first and sums afterwards (MT-GRPO by turn index).
            The baseline then has as many terms as the episode has turns left, which is biased where the policy decides
            when to stop (verl RFC 7244): a turn more costs the group's mean reward.
        discount: gamma.
        trace: lambda of GAE, in [0, 1]; `telescoped` reads it.

    Raises:
        KeyError: for an unknown comparison.
        ValueError: for another unknown value or a scale or order that `telescoped` has not, and for a negative return
            where the scale is `mean`.
    """
    if returns not in RETURNS or scale not in SCALES:
        raise ValueError(f"returns {returns!r} of {RETURNS}, scale {scale!r} of {SCALES} expected")
    if returns == "telescoped" and (scale not in TELESCOPED_SCALES or normalize == "rewards"):
        raise ValueError(f"telescoped credit has a scale of {TELESCOPED_SCALES}, and normalizes no rewards")
    groups = _compared(table, COMPARISONS[group], counts)
    if normalize == "rewards":
        return _returns(table, groups.compare(table.reward, scale), returns, discount)
    if returns == "telescoped":
        credit = _telescope(table, groups, discount, trace)
        return credit if scale == "none" else credit / groups.spread_of_all(credit)
    return groups.compare(_returns(table, table.reward, returns, discount), scale)


def _returns(t: TurnTable, reward: Tensor, returns: str, discount: float) -> Tensor:
    if returns == "broadcast":
        return _sums(reward, t.trajectory)[t.trajectory]
    total = reward.clone()
    for k in range(int(t.index.max()) - 1 if t.n_turns else -1, -1, -1):
        here = ((t.index[:-1] == k) & (t.trajectory[:-1] == t.trajectory[1:])).nonzero().flatten()
        total[here] = reward[here] + discount * total[here + 1]
    return total


def _telescope(t: TurnTable, groups: _Compared, discount: float, trace: float) -> Tensor:
    value = groups.baseline(_returns(t, t.reward, "to_go", discount))
    following = value.new_zeros(t.n_turns)
    following[:-1] = value[1:] * (t.trajectory[:-1] == t.trajectory[1:])
    return _returns(t, t.reward + discount * following - value, "to_go", discount * trace)


@dataclass(frozen=True, slots=True)
class _Compared:
    """TurnGroup groups: `group` [U] from 0, `own` [U] those of an episode within its group, `weight` [U] of a turn in
    the statistics; `others`: the baseline leaves out the own episode."""

    group: Tensor
    own: Tensor
    weight: Tensor
    others: bool

    def compare(self, x: Tensor, scale: str) -> Tensor:
        """x centred and scaled; exactly 0 where a group cannot tell its members apart."""
        alone = _sums(self.weight, self.group)[self.group] < 1 + STD_EPSILON
        mean = self.baseline(x)
        centred = (x - mean).masked_fill(alone, 0.0)
        match scale:
            case "std":
                centred = centred / self._spread(x, self.group)
            case "batch_std":
                centred = centred / self.spread_of_all(centred)
            case "mean":
                if bool((x < 0).any()):
                    raise ValueError("credit is divided by the group's mean: rewards must not be negative")
                centred = centred / (mean + STD_EPSILON)
        return centred

    def baseline(self, x: Tensor) -> Tensor:
        """Mean of each turn's group [U], exact where all its members are equal; x itself where there are no others."""
        total = _sums(self.weight * x, self.group)[self.group]
        if self.others:
            total = total - _sums(self.weight * x, self.own)[self.own]
        size = self._size()
        return (total / size.clamp(min=STD_EPSILON)).where(~self._equal(x) & (size >= STD_EPSILON), x)

    def spread_of_all(self, x: Tensor) -> Tensor:
        """Standard deviation over the batch + epsilon, [U]."""
        return self._spread(x, self.group * 0)

    def _size(self) -> Tensor:
        size = _sums(self.weight, self.group)[self.group]
        return size - _sums(self.weight, self.own)[self.own] if self.others else size

    def _equal(self, x: Tensor) -> Tensor:
        zeros = x.new_zeros(int(self.group.max()) + 1 if len(x) else 0)
        lowest = zeros.scatter_reduce(0, self.group, x, "amin", include_self=False)
        return (lowest == zeros.scatter_reduce(0, self.group, x, "amax", include_self=False))[self.group]

    def _spread(self, x: Tensor, group: Tensor) -> Tensor:
        size = _sums(self.weight, group)
        mean = _sums(self.weight * x, group) / size
        variance = _sums(self.weight * (x - mean[group]) ** 2, group) / (size - 1).clamp(min=STD_EPSILON)
        return variance.sqrt()[group] + STD_EPSILON


def _compared(t: TurnTable, comparison: TurnGroup, counts: Counts) -> _Compared:
    group = _relabelled(comparison.labels(t))
    own = _relabelled(_pairs(t.trajectory, group))
    match counts:
        case "token":
            weight = t.tokens.to(t.reward.dtype)
        case "unit":
            weight = t.reward.new_ones(t.n_turns)
        case "trajectory":  # an episode's turns in a group weigh 1 together
            weight = 1 / _sums(t.reward.new_ones(t.n_turns), own)[own]
    return _Compared(group, own, weight, comparison.others)


def _relabelled(labels: Tensor) -> Tensor:
    return labels.unique(return_inverse=True)[1]


def _sums(values: Tensor, labels: Tensor) -> Tensor:
    return values.new_zeros(int(labels.max()) + 1 if len(labels) else 0).index_add(0, labels, values)
