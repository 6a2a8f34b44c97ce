"""Values of states from the returns of forks in two passes, the second where the first found variance. Pure.

A mean whose sample size depends on the sample is biased: a state of rare success that happens to show none would get
no further fork and stay at 0 (at a success rate of .05, eight forks and sixteen more where one succeeded, the pooled
mean has expectation .028). So the forks of a state fall into two halves, and the variance found by one half decides
how many further forks the *other* gets. Each half's mean is unbiased, and so is their midpoint. The halves serve as
split halves too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_FORKS = 8
"""Of a state, on average: the first pass then has two forks in each half, the least that have a variance."""

Draw = Callable[[Sequence[tuple[int, int]]], Sequence[float]]
"""Returns of forks, each given by (index of its state, number of the fork from 0)."""


@dataclass(frozen=True, slots=True)
class StateValue:
    """Estimated value of a state: its standard error, the means of its two halves, and its number of forks.

    A known value has no error and no forks.
    """

    value: float
    error: float
    halves: tuple[float, float]
    forks: int


def known_value(value: float) -> StateValue:
    """The value of a state in which nothing is left to chance, such as an episode's end."""
    return StateValue(value, 0.0, (value, value), 0)


def estimated_value(first: np.ndarray, second: np.ndarray) -> StateValue:
    """The midpoint of the means of two halves of returns, float64 [n] and [m], and its standard error by the variance
    over all n + m. Raises ValueError for an empty half."""
    if not len(first) or not len(second):
        raise ValueError("each half needs a return")
    means = float(first.mean()), float(second.mean())
    variance = float(np.concatenate([first, second]).var(ddof=1))
    error = (variance * (1 / len(first) + 1 / len(second))) ** 0.5 / 2
    return StateValue((means[0] + means[1]) / 2, error, means, len(first) + len(second))


def allocation(spread: np.ndarray, visits: np.ndarray, budget: int) -> np.ndarray:
    """Split `budget` forks over states as √visits · spread (Neyman), int64 [n]; none where no state has spread.

    `spread` is the standard deviation of a return by state, `visits` the number of units whose credit takes the
    state's value: this minimises the sum of these units' variances. Rounded by largest remainder.
    """
    weight = np.sqrt(visits) * spread
    if not weight.sum():
        return np.zeros(len(weight), np.int64)
    exact = weight / weight.sum() * budget
    whole = np.floor(exact).astype(np.int64)
    most = np.argsort(-(exact - whole), kind="stable")[: budget - int(whole.sum())]
    whole[most] += 1
    return whole


def two_pass_values(draw: Draw, visits: Sequence[int], forks: int) -> list[StateValue]:
    """Value of each state by `forks` continuations on average: half of them alike, half where variance is.

    `visits` as in `allocation`. The number of a fork decides its half: even ones are the first, odd ones the second.
    The spread by which a half's further forks are divided is shrunk towards the mean over states by half, as it comes
    from a few returns. Raises ValueError unless `forks` is a multiple of 4 and at least 8.
    """
    if forks < FEWEST_FORKS or forks % 4:
        raise ValueError(f"forks must be a multiple of 4 and at least {FEWEST_FORKS}, not {forks}")
    each = forks // 2
    numbers = [[list(range(half, each, 2)) for half in (0, 1)] for _ in visits]
    returns = _drawn(draw, numbers)
    budget = len(visits) * forks // 4
    further: list[list[list[int]]] = [[[], []] for _ in visits]
    for half in (0, 1):
        variance = np.array([np.var(seen[1 - half], ddof=1) for seen in returns])
        spread = np.sqrt((variance + variance.mean()) / 2) if len(variance) else variance
        for state, n in enumerate(allocation(spread, np.asarray(visits), budget)):
            further[state][half] = [each + half + 2 * i for i in range(int(n))]
    more = _drawn(draw, further)
    joined = [[np.concatenate([a[h], b[h]]) for h in (0, 1)] for a, b in zip(returns, more, strict=True)]
    return [estimated_value(first, second) for first, second in joined]


def _drawn(draw: Draw, numbers: list[list[list[int]]]) -> list[list[np.ndarray]]:
    """Returns of the numbered forks: by state, by half, float64."""
    pairs = [(state, number) for state, halves in enumerate(numbers) for half in halves for number in half]
    values = iter(draw(pairs) if pairs else [])
    return [[np.array([next(values) for _ in half], np.float64) for half in halves] for halves in numbers]
