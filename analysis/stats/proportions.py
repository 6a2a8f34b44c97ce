"""Rates and their intervals; comparisons of two checkpoints on the same questions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import CHECKPOINT, DegenerateInput, Estimate, Interval, Test, finite_vector


def _check(successes: float, n: float) -> None:
    if n <= 0 or not 0 <= successes <= n:
        raise DegenerateInput(f"{successes:g} of {n:g} is not a proportion")


def wilson(successes: float, n: float, level: float = 0.95) -> Estimate:
    """Share with Wilson's score interval. `n` > 0 may be fractional (an effective size)."""
    from statsmodels.stats.proportion import proportion_confint  # heavy

    _check(successes, n)
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    return Estimate(successes / n, Interval(float(low), float(high), level, "Wilson"), math.floor(n))


def _design_effect(sums: np.ndarray, sizes: np.ndarray, square_sum: float) -> float:
    n, g = float(sizes.sum()), sizes.size
    mean = float(sums.sum()) / n
    naive = (square_sum / n - mean**2) / n
    if g < 2 or naive <= 1e-15:
        return 1.0
    clustered = float(((sums - mean * sizes) ** 2).sum()) / n**2 * g / (g - 1)
    return max(1.0, clustered / naive)


def clustered_wilson(sums: ArrayLike, sizes: ArrayLike, level: float = 0.95) -> Estimate:
    """Wilson interval of a rate whose trials are clustered (by question): n becomes n / design effect.

    `sums`, `sizes`: successes and trials of each cluster. One cluster: its rate, no interval, and a note.
    At zero failures or zero successes the design effect cannot be estimated; each cluster then counts once.
    """
    from statsmodels.stats.proportion import proportion_confint  # heavy

    s, m = finite_vector(sums, "successes by cluster"), finite_vector(sizes, "trials by cluster")
    if s.size != m.size:
        raise DegenerateInput(f"{s.size} sums but {m.size} sizes")
    s, m = s[m > 0], m[m > 0]
    n = float(m.sum())
    _check(float(s.sum()), n)
    share = float(s.sum()) / n
    if m.size < 2:
        return Estimate(share, None, 1, "one question: no interval")
    if share in (0.0, 1.0):
        low, high = proportion_confint(share * m.size, m.size, alpha=1 - level, method="wilson")
        method, note = "Wilson, one trial a question", "no variation: each question counted once"
        return Estimate(share, Interval(float(low), float(high), level, method), int(m.size), note)
    effective = n / _design_effect(s, m, float(s.sum()))
    low, high = proportion_confint(share * effective, effective, alpha=1 - level, method="wilson")
    method = f"Wilson, design effect {n / effective:.2f} (clusters: questions)"
    return Estimate(share, Interval(float(low), float(high), level, method), int(m.size))


def newcombe(successes_a: int, n_a: int, successes_b: int, n_b: int, level: float = 0.95) -> Estimate:
    """Difference of two independent shares, Newcombe's hybrid score interval (1998, method 10)."""
    from statsmodels.stats.proportion import confint_proportions_2indep  # heavy

    _check(successes_a, n_a)
    _check(successes_b, n_b)
    low, high = confint_proportions_2indep(
        successes_a, n_a, successes_b, n_b, compare="diff", method="newcomb", alpha=1 - level
    )
    difference = successes_a / n_a - successes_b / n_b
    return Estimate(difference, Interval(float(low), float(high), level, "Newcombe"), n_a + n_b)


def rule_of_three(n: int, level: float = 0.95) -> float:
    """Upper bound of a rate after 0 events in `n` independent trials: 1 − (1 − level)^(1/n), about 3/n at .95."""
    if n <= 0:
        raise DegenerateInput("rule of three needs at least one trial")
    return 1.0 - (1.0 - level) ** (1.0 / n)


def mcnemar(table: ArrayLike) -> Test:
    """Exact McNemar test of two checkpoints on the same questions: [[both right, A only], [B only, both wrong]].

    A claim about these checkpoints, not about the algorithms that made them.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test  # heavy

    counts = np.asarray(table, dtype=np.int64)
    if counts.shape != (2, 2) or (counts < 0).any():
        raise DegenerateInput("McNemar needs a 2 × 2 table of counts")
    method = "exact McNemar (checkpoint claim)"
    if counts[0, 1] + counts[1, 0] == 0:
        return Test(0.0, 1.0, method, CHECKPOINT, note="no question separates the two")
    result = exact_test(counts, exact=True)
    return Test(float(result.statistic), float(result.pvalue), method, CHECKPOINT)


def paired_table(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """2 × 2 counts for `mcnemar` of two 0/1 vectors in the same question order."""
    x, y = finite_vector(a, "checkpoint A") > 0.5, finite_vector(b, "checkpoint B") > 0.5
    if x.size != y.size:
        raise DegenerateInput(f"checkpoints answered {x.size} and {y.size} questions: not the same set")
    return np.array([[(x & y).sum(), (x & ~y).sum()], [(~x & y).sum(), (~x & ~y).sum()]])


def two_proportion_z(successes_a: float, n_a: float, successes_b: float, n_b: float) -> Test:
    """The pooled z test that treats every answer as independent. Used in calibration only, for comparison."""
    _check(successes_a, n_a)
    _check(successes_b, n_b)
    pooled = (successes_a + successes_b) / (n_a + n_b)
    se = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    if se == 0:
        return Test(0.0, 1.0, "two-proportion z", CHECKPOINT, note="no variation")
    z = (successes_a / n_a - successes_b / n_b) / se
    return Test(z, float(2 * stats.norm.sf(abs(z))), "two-proportion z", CHECKPOINT)
