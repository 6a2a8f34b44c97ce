"""Scores of advantage estimators against true unit credit, measured by forks. Pure.

An estimator gives one advantage a unit, ragged by episode as the credits are. All scores take out the noise of the
forks by their two halves: a product of two halves has none, and where one half selects, the other is judged.
Scores of final units are to be read apart: every estimator that holds the reward agrees with their credit through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from harness.credit.unit_credit import UnitCredit

CERTAIN = 2.0
"""Standard errors from 0 at which the sign of a unit's credit counts as known."""


@dataclass(frozen=True, slots=True)
class CreditedUnits:
    """N units of many episodes with their credit: `credit` and `errors` float64 [N], `halves` float64 [2, N].

    `tokens` [N] weigh units, `group` [N] is the index of the unit's group (question), `final` [N] marks last units.
    """

    credit: np.ndarray
    errors: np.ndarray
    halves: np.ndarray
    tokens: np.ndarray
    group: np.ndarray
    final: np.ndarray


def credited_units(
    credits: Sequence[UnitCredit], tokens: Sequence[Sequence[int]], groups: Sequence[int]
) -> CreditedUnits:
    """Units of B episodes in order: their credits, policy tokens by unit (ragged), and groups [B].

    Raises ValueError where an episode's tokens are not of its units.
    """
    for credit, lengths in zip(credits, tokens, strict=True):
        if len(credit.credit) != len(lengths):
            raise ValueError(f"{len(credit.credit)} units but {len(lengths)} lengths in tokens")
    sizes = [len(c.credit) for c in credits]
    labels = np.unique(np.asarray(groups), return_inverse=True)[1]
    final = np.zeros(sum(sizes), bool)
    final[np.cumsum(sizes) - 1] = True
    return CreditedUnits(
        np.concatenate([c.credit for c in credits]),
        np.concatenate([c.errors for c in credits]),
        np.concatenate([c.halves for c in credits], axis=1),
        np.concatenate([np.asarray(t, np.float64) for t in tokens]),
        np.repeat(labels, sizes),
        final,
    )


def efficiency(estimate: np.ndarray, units: CreditedUnits) -> float:
    """Squared uncentred correlation of advantages, float64 [N], with true credit, weighted by tokens.

    E[eA]² / (E[e²] E[A²]): the share of episodes that true credit would need for the same signal to noise of the
    gradient, if a unit's score is independent of its credit. It scores direction, not size: a shrunk estimate is as
    efficient as the whole one. NaN for an estimate that is 0 everywhere.
    """
    return float(_efficiency(_sums(estimate, units).sum(0)))


def efficiency_interval(
    estimate: np.ndarray, units: CreditedUnits, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Ends of the 95 % percentile interval of the efficiency over groups, which are resampled whole; NaN for an
    estimate that is 0 everywhere."""
    sums = _sums(estimate, units)
    drawn = _efficiency(_resampled(len(sums), draws, seed) @ sums)
    if np.isnan(drawn).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def efficiency_difference(
    estimate: np.ndarray, other: np.ndarray, units: CreditedUnits, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Efficiency of `estimate` less that of `other`, and the ends of its 95 % percentile interval over groups, which
    are resampled whole, the same ones for both."""
    first, second = _sums(estimate, units), _sums(other, units)
    counts = _resampled(len(first), draws, seed)
    drawn = _efficiency(counts @ first) - _efficiency(counts @ second)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(_efficiency(first.sum(0)) - _efficiency(second.sum(0))), float(low), float(high)


def _resampled(groups: int, draws: int, seed: int) -> np.ndarray:
    """How often each group is drawn, int64 [draws, groups]."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), draws)


def _sums(estimate: np.ndarray, units: CreditedUnits) -> np.ndarray:
    """Token-weighted sums of eA, e² and A² (by halves) of each group, float64 [G, 3]."""
    terms = (estimate * units.credit, estimate**2, units.halves[0] * units.halves[1])
    return np.stack([np.bincount(units.group, weights=units.tokens * term) for term in terms], axis=1)


def _efficiency(sums: np.ndarray) -> np.ndarray:
    """From sums [..., 3]."""
    cross, own, true = np.moveaxis(np.asarray(sums), -1, 0)
    positive = (own > 0) & (true > 0)
    return np.where(positive, cross**2 / np.where(positive, own * true, 1.0), np.nan)


def wrong_sign_share(estimate: np.ndarray, units: CreditedUnits) -> float:
    """Share of the credit of units of known sign to which an estimator gives the opposite sign; 0 is no sign.

    One half of the forks finds the units (`CERTAIN` errors from 0) and their sign, the other their size; then in
    exchanged parts. NaN where no sign is known.
    """
    wrong = every = 0.0
    for found, sized in ((0, 1), (1, 0)):
        error = units.errors * 2**0.5
        known = (np.abs(units.halves[found]) > CERTAIN * error) & (units.halves[found] != 0)
        sign = np.sign(units.halves[found])
        size = np.where(known, sign * units.halves[sized], 0.0)
        every += float(size.sum())
        wrong += float(size[estimate * sign < 0].sum())
    return wrong / every if every > 0 else float("nan")


def rank_correlation(estimate: np.ndarray, units: CreditedUnits) -> float:
    """Spearman's correlation of advantages with credit over units that are not final; NaN where either is constant."""
    kept = ~units.final
    e, a = estimate[kept], units.credit[kept]
    if len(e) < 2 or not np.ptp(e) or not np.ptp(a):
        return float("nan")
    return float(spearmanr(e, a).statistic)
