"""Contrast of two arms whose runs have two crossed random factors, such as start policies and search seeds.

No permutation is exact here: flipping the signs of one factor's levels keeps the other's part of the difference in
place, so that its variance is missing from the law (type-I error .2 at nominal .05 for 8 × 4 levels). The test is the
mixed model's quasi-F in closed form (Satterthwaite 1946; Judd, Westfall and Kenny 2012, for participants and stimuli):
rows and columns each add the variance of their means, and what both contain, that of the cells, is subtracted once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.random_levels import Assignment
from analysis.stats.student_law import StudentLaw
from analysis.stats.types import DegenerateInput, Estimate, Test

METHOD = "t of two crossed random factors"


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the variance of a mean, on `df` degrees of freedom."""

    variance: float
    df: int


def crossed_law(a: ArrayLike, b: ArrayLike, rows: Assignment, columns: Assignment) -> StudentLaw:
    """Law of mean(a) − mean(b), of values [rows, columns] without a missing cell.

    `rows`, `columns`: whether a factor's levels are crossed with the arms (the same ones in both, at the same place)
    or nested in them. Raises DegenerateInput for less than two levels of a factor, for shapes that do not fit, and
    where levels do not differ at all.
    """
    x, y = (_matrix(v) for v in (a, b))
    for factor, axis in ((rows, 0), (columns, 1)):
        if factor is Assignment.CROSSED and x.shape[axis] != y.shape[axis]:
            raise DegenerateInput(f"crossed levels, but {x.shape[axis]} in one arm and {y.shape[axis]} in the other")
    by_row, by_column = _levels(x, y, rows, 1), _levels(x, y, columns, 0)
    both = rows is columns is Assignment.CROSSED
    by_cell = [_cells(m) for m in ([x - y] if both else [x, y])]
    row, column, cell = (sum(part.variance for part in parts) for parts in (by_row, by_column, by_cell))
    variance = max(row + column - cell, row, column)
    if variance <= 1e-30:
        raise DegenerateInput("no spread between levels: no standard error")
    # At least the df of the factor with fewer levels: the approximation may not fall below either factor's own test.
    least = min(sum(part.df for part in parts) for parts in (by_row, by_column))
    terms = sum(part.variance**2 / part.df for part in (*by_row, *by_column, *by_cell))
    return StudentLaw(float(x.mean() - y.mean()), float(np.sqrt(variance)), max(variance**2 / terms, least))


def crossed_contrast(
    a: ArrayLike, b: ArrayLike, rows: Assignment, columns: Assignment, level: float = 0.95
) -> tuple[Estimate, Test]:
    """mean(a) − mean(b) with interval and test by `crossed_law`: a claim about further levels of both factors."""
    law = crossed_law(a, b, rows, columns)
    method = f"{METHOD}, {law.df:.1f} df"
    levels = min(min(np.shape(v)) for v in (a, b))
    return Estimate(law.value, law.interval(level, method), levels), Test(law.value, law.p, method)


def _matrix(values: ArrayLike) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or min(found.shape, default=0) < 2 or not np.isfinite(found).all():
        raise DegenerateInput(f"a finite matrix of at least 2 × 2 levels is needed, got shape {found.shape}")
    return found


def _levels(x: np.ndarray, y: np.ndarray, factor: Assignment, over: int) -> list[_Part]:
    """Variance of the means of a factor's levels, `over` the other factor's axis: of differences where crossed."""
    means = [m.mean(axis=over) for m in (x, y)]
    samples = [means[0] - means[1]] if factor is Assignment.CROSSED else means
    return [_Part(float(m.var(ddof=1)) / m.size, m.size - 1) for m in samples]


def _cells(m: np.ndarray) -> _Part:
    """Variance of the mean that cells add beyond their row and column (the interaction mean square)."""
    rest = m - m.mean(axis=1, keepdims=True) - m.mean(axis=0) + m.mean()
    df = (m.shape[0] - 1) * (m.shape[1] - 1)
    return _Part(float((rest**2).sum()) / df / m.size, df)
