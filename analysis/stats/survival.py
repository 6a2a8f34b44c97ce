"""Survival analysis of right-censored times: turns to recovery, steps to a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from analysis.stats.permutation import seed_permutation
from analysis.stats.types import DegenerateInput, Estimate, Interval, Test, finite_vector


@dataclass(frozen=True, slots=True)
class Survival:
    """Kaplan–Meier curve. Arrays of equal length over the distinct times, time 0 first.

    `survival` is P(not yet) just after a time; `at_risk` and `events` are counts there; low/high pointwise (log-log).
    `band` names the interval.
    """

    time: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    n: int
    note: str = ""
    band: str = "log-log, Greenwood"


def _times(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    t = finite_vector(time, "times")
    e = np.asarray(event).ravel().astype(bool)
    if e.size != t.size:
        raise DegenerateInput(f"{t.size} times but {e.size} event marks")
    if (t < 0).any():
        raise DegenerateInput("a time is negative")
    return t, e


def kaplan_meier(time: ArrayLike, event: ArrayLike, level: float = 0.95, clusters: ArrayLike | None = None) -> Survival:
    """Curve of P(no event by t). `event` False: censored at that time. Zero events: flat at 1, with a note.

    Bands: log-log transform (inside [0, 1]) of Greenwood's variance, or with `clusters` (e.g. questions, whose episodes
    are alike) of its clustered form, which is Greenwood's when every episode is its own cluster; one cluster: the band
    is all of [0, 1]. Where the curve is 1 or 0 no variance can be estimated and the band equals the curve.
    """
    t, e = _times(time, event)
    distinct = np.unique(t)
    order = np.sort(t)
    at_risk = t.size - np.searchsorted(order, distinct, side="left")
    events = np.bincount(np.searchsorted(distinct, t), weights=e, minlength=distinct.size).astype(np.int64)
    if not e.any():
        curve, se = np.ones(distinct.size), np.zeros(distinct.size)
    else:
        fit = SurvfuncRight(t, e.astype(int))
        positions = np.searchsorted(fit.surv_times, distinct, side="right") - 1
        curve = np.where(positions >= 0, fit.surv_prob[positions.clip(0)], 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):  # Greenwood is 0·∞ once the curve is 0
            se = np.nan_to_num(np.where(positions >= 0, fit.surv_prob_se[positions.clip(0)], 0.0))
    band, note = "log-log, Greenwood", "" if e.any() else "no event: the curve stays at 1"
    z = stats.norm.ppf(0.5 + level / 2)
    inner = (curve > 0) & (curve < 1)
    groups = 0
    if clusters is not None:
        labels = np.unique(np.asarray(clusters).ravel(), return_inverse=True)[1]
        if labels.size != t.size:
            raise DegenerateInput(f"{t.size} times but {labels.size} cluster labels")
        groups = int(labels.max()) + 1
        se = curve * np.sqrt(_clustered_variance(t, e, distinct, at_risk, events, labels))
        band = f"log-log, clustered ({groups} questions)"
    log = np.log(curve, out=np.zeros_like(curve), where=inner)
    theta = np.divide(z * se, curve * log, out=np.zeros_like(curve), where=inner)
    low = np.where(inner, curve ** np.exp(-theta), curve)
    high = np.where(inner, curve ** np.exp(theta), curve)
    if groups == 1:
        low, high, note = np.where(inner, 0.0, low), np.where(inner, 1.0, high), note or "one question: no band"
    pad = [0.0] if distinct[0] > 0 else []
    ones = [1.0] * len(pad)
    return Survival(
        np.concatenate([pad, distinct]),
        np.concatenate([ones, curve]),
        np.concatenate([ones, np.minimum(low, high)]),
        np.concatenate([ones, np.maximum(low, high)]),
        np.concatenate([np.full(len(pad), t.size), at_risk]).astype(np.int64),
        np.concatenate([np.zeros(len(pad)), events]).astype(np.int64),
        int(t.size),
        note,
        band,
    )


def _clustered_variance(
    t: np.ndarray, e: np.ndarray, distinct: np.ndarray, at_risk: np.ndarray, events: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Variance of log S at each distinct time: squared sums by cluster of the martingale residuals of log S.

    Σ_c (Σ_{u ≤ t} (d_cu − n_cu d_u/n_u) / (n_u − d_u))², factor G/(G − 1); from the time on where all are gone: 0.
    """
    groups, k = int(labels.max()) + 1, distinct.size
    place = np.searchsorted(distinct, t)
    cell = labels * k + place
    ended = np.bincount(cell, minlength=groups * k).reshape(groups, k)
    hit = np.bincount(cell, weights=e, minlength=groups * k).reshape(groups, k)
    risk = ended[:, ::-1].cumsum(axis=1)[:, ::-1]
    weight = np.divide(1.0, at_risk - events, out=np.zeros(k), where=at_risk > events)
    sums = ((hit - risk * (events / at_risk)) * weight).cumsum(axis=1)
    factor = groups / (groups - 1) if groups > 1 and groups < t.size else 1.0
    return np.asarray((sums**2).sum(axis=0) * factor)


def logrank(time_a: ArrayLike, event_a: ArrayLike, time_b: ArrayLike, event_b: ArrayLike) -> Test:
    """Log-rank test of two samples (z; negative: events of A come later than expected). No event: p = 1, a note."""
    (ta, ea), (tb, eb) = _times(time_a, event_a), _times(time_b, event_b)
    if not (ea.any() or eb.any()):
        return Test(None, 1.0, "log-rank", note="no event in either arm")
    last_shared = min(ta.max(), tb.max())
    if not ((ta[ea] <= last_shared).any() or (tb[eb] <= last_shared).any()) or _no_variance(ta, ea, tb, eb):
        return Test(None, 1.0, "log-rank", note="no event while both arms were at risk")
    result = stats.logrank(stats.CensoredData.right_censored(ta, ~ea), stats.CensoredData.right_censored(tb, ~eb))
    return Test(float(result.statistic), float(result.pvalue), "log-rank")


def _no_variance(ta: np.ndarray, ea: np.ndarray, tb: np.ndarray, eb: np.ndarray) -> bool:
    """True when at every event time one arm is empty, or all at risk have the event at once."""
    for u in np.unique(np.concatenate([ta[ea], tb[eb]])):
        na, nb = int((ta >= u).sum()), int((tb >= u).sum())
        d = int((ea & (ta == u)).sum() + (eb & (tb == u)).sum())
        if na and nb and d < na + nb:
            return False
    return True


def logrank_scores(time: ArrayLike, event: ArrayLike) -> np.ndarray:
    """Event mark − pooled Nelson–Aalen hazard up to the own time: their sum over an arm is log-rank's observed minus
    expected events of that arm (Peto and Peto 1972)."""
    t, e = _times(time, event)
    distinct, place = np.unique(t, return_inverse=True)
    at_risk = t.size - np.searchsorted(np.sort(t), distinct, side="left")
    hazard = np.cumsum(np.bincount(place, weights=e, minlength=distinct.size) / at_risk)
    return e - hazard[place]


def logrank_permutation(time_a: ArrayLike, event_a: ArrayLike, time_b: ArrayLike, event_b: ArrayLike) -> Test:
    """Exact log-rank test of a few runs: `seed_permutation` of the log-rank scores. Statistic: mean score of A − of B.

    The usual normal approximation (`logrank`) rejects too often with five runs an arm (see `analysis.calibration`).
    """
    (ta, ea), (tb, eb) = _times(time_a, event_a), _times(time_b, event_b)
    pooled_time, pooled_event = np.concatenate([ta, tb]), np.concatenate([ea, eb])
    scores = logrank_scores(pooled_time, pooled_event)
    test = seed_permutation(scores[: ta.size], scores[ta.size :])
    note = test.note
    if not pooled_event.any():
        note = "no event in either arm"
    elif pooled_event.all() and np.ptp(pooled_time) == 0:
        note = "all events come at the same time"
    return replace(test, method=f"log-rank scores, {test.method}", note=note)


def restricted_mean_difference(
    time_a: ArrayLike, event_a: ArrayLike, time_b: ArrayLike, event_b: ArrayLike, horizon: float, level: float = 0.95
) -> tuple[Estimate, Test]:
    """Restricted mean of A minus that of B up to `horizon`, with a normal interval and z test.

    For hundreds of episodes; with a handful of runs it rejects too often (see `analysis.calibration`): permute seeds.
    """
    mean_a, var_a, n_a = _area(time_a, event_a, horizon)
    mean_b, var_b, n_b = _area(time_b, event_b, horizon)
    difference, variance = mean_a - mean_b, var_a + var_b
    method = f"restricted mean difference to {horizon:g}, Greenwood z"
    if variance == 0:
        note = "no spread in either arm"
        flat = Interval(difference, difference, level, method)
        p = 1.0 if difference == 0 else None
        return Estimate(difference, flat, n_a + n_b, note), Test(None, p, method, note=note)
    se = math.sqrt(variance)
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    p = float(2 * stats.norm.sf(abs(difference) / se))
    estimate = Estimate(difference, Interval(difference - half, difference + half, level, method), n_a + n_b)
    return estimate, Test(difference / se, p, method)


def _area(time: ArrayLike, event: ArrayLike, horizon: float) -> tuple[float, float, int]:
    """Area under the curve to the horizon, its variance, and n."""
    if horizon <= 0:
        raise DegenerateInput(f"the horizon must be positive, got {horizon}")
    curve = kaplan_meier(time, event)
    if curve.time[-1] < horizon and curve.survival[-1] > 0:
        raise DegenerateInput(f"horizon {horizon:g} lies beyond the longest observed time {curve.time[-1]:g}")
    keep = curve.time < horizon
    edges = np.append(curve.time[keep], horizon)
    areas = curve.survival[keep] * np.diff(edges)
    after = np.cumsum(areas[::-1])[::-1]  # area from each time on
    d, n = curve.events[keep].astype(float), curve.at_risk[keep].astype(float)
    weight = np.divide(d, n * (n - d), out=np.zeros_like(d), where=n > d)
    return float(areas.sum()), float((after**2 * weight).sum()), curve.n
