"""Regressions whose standard errors respect clusters: OLS by run, GEE logit by question or run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from statsmodels.genmod.cov_struct import Exchangeable, Independence
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_estimating_equations import GEE
from statsmodels.regression.linear_model import OLS

from analysis.stats.types import DegenerateInput, Interval, finite_vector


@dataclass(frozen=True, slots=True)
class Coefficient:
    """One coefficient with its clustered standard error; OLS in the outcome's unit, logit in log odds."""

    name: str
    value: float
    se: float
    interval: Interval
    p: float


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted regression. Without coefficients where fitting failed, with the reason in `note`."""

    coefficients: tuple[Coefficient, ...]
    n: int
    n_clusters: int
    method: str
    note: str = ""

    def __getitem__(self, name: str) -> Coefficient:
        for c in self.coefficients:
            if c.name == name:
                return c
        raise KeyError(f"{name!r}: {self.note or 'no such coefficient'}")


def _design(
    outcome: ArrayLike, columns: Mapping[str, ArrayLike], clusters: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    y = finite_vector(outcome, "outcome")
    vectors = [finite_vector(v, name) for name, v in columns.items()]
    labels = np.unique(np.asarray(clusters).ravel(), return_inverse=True)[1]
    for name, v in [*zip(columns, vectors, strict=True), ("clusters", labels)]:
        if v.size != y.size:
            raise DegenerateInput(f"{name}: {v.size} values for {y.size} outcomes")
    order = np.argsort(labels, kind="stable")
    x = np.column_stack([np.ones(y.size), *vectors])
    return y[order], x[order], labels[order], ["intercept", *columns]


def _unfit(x: np.ndarray, y: np.ndarray, n_clusters: int) -> str:
    if n_clusters < 2:
        return "one cluster: no standard error"
    if np.linalg.matrix_rank(x) < x.shape[1]:
        return "the columns are linearly dependent"
    if n_clusters <= x.shape[1]:
        return f"{n_clusters} clusters for {x.shape[1]} coefficients: no standard error"
    if np.ptp(y) == 0:
        return "the outcome never varies"
    return ""


def _coefficients(
    names: list[str], values: np.ndarray, se: np.ndarray, df: int, level: float, method: str
) -> tuple[Coefficient, ...]:
    law = stats.t(df)
    half = law.ppf(0.5 + level / 2) * se
    return tuple(
        Coefficient(
            n, float(b), float(s), Interval(float(b - h), float(b + h), level, method), float(2 * law.sf(abs(b / s)))
        )
        for n, b, s, h in zip(names, values, se, half, strict=True)
    )


def cluster_ols(outcome: ArrayLike, columns: Mapping[str, ArrayLike], clusters: ArrayLike, level: float = 0.95) -> Fit:
    """Least squares with an intercept, CR1 standard errors by cluster, t with G − 1 df (statsmodels)."""
    y, x, labels, names = _design(outcome, columns, clusters)
    g = int(labels.max()) + 1
    method = f"OLS, SE clustered over {g} runs, t with {g - 1} df"
    note = _unfit(x, y, g)
    if note:
        return Fit((), y.size, g, method, note)
    fit = OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": labels}, use_t=True)
    if not (np.isfinite(fit.bse).all() and (fit.bse > 0).all()):
        return Fit((), y.size, g, method, "no residual spread: no standard error")
    return Fit(_coefficients(names, fit.params, fit.bse, g - 1, level, method), y.size, g, method)


def gee_logit(
    outcome: ArrayLike,
    columns: Mapping[str, ArrayLike],
    clusters: ArrayLike,
    level: float = 0.95,
    exchangeable: bool = False,
) -> Fit:
    """Logistic GEE of a 0/1 outcome, bias-reduced (Mancl–DeRouen) sandwich, t with G − p df.

    Separation (a cell without a single 0 or 1) has no finite estimate and is reported in `note`, as is non-convergence.
    """
    y, x, labels, names = _design(outcome, columns, clusters)
    if not np.isin(y, (0.0, 1.0)).all():
        raise DegenerateInput("GEE logit needs a 0/1 outcome")
    g = int(labels.max()) + 1
    method = f"GEE logit, bias-reduced SE over {g} clusters"
    note = _unfit(x, y, g)
    if not note:
        cells = np.unique(x, axis=0, return_inverse=True)[1].ravel()
        shares = np.bincount(cells, weights=y) / np.bincount(cells)
        # Saturated designs (as many cells as coefficients) separate exactly when a cell has one outcome only.
        if shares.size == x.shape[1] and ((shares == 0) | (shares == 1)).any():
            note = "separation: a group has only one outcome, its log odds are infinite"
    if note:
        return Fit((), y.size, g, method, note)
    structure = Exchangeable() if exchangeable else Independence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fit = GEE(y, x, groups=labels, family=Binomial(), cov_struct=structure).fit(cov_type="bias_reduced")
            params, se = np.asarray(fit.params), np.asarray(fit.bse)
        except (np.linalg.LinAlgError, ValueError) as error:
            return Fit((), y.size, g, method, f"could not be fitted: {error}")
    if not (fit.converged and np.isfinite(se).all() and (se > 0).all() and np.abs(params).max() < 20):
        return Fit((), y.size, g, method, "did not converge (separation or too few events)")
    return Fit(_coefficients(names, params, se, g - x.shape[1], level, method), y.size, g, method)
