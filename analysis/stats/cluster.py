"""Standard errors that respect clusters: seeds, questions, or both at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import CHECKPOINT, DegenerateInput, Estimate, Interval, Test, finite_vector


def _matrix(values: ArrayLike, what: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape:
        raise DegenerateInput(f"{what}: a seeds × questions matrix is needed, got shape {array.shape}")
    if not np.isfinite(array).all():
        missing = int((~np.isfinite(array)).sum())
        raise DegenerateInput(f"{what}: {missing} cells are missing; every seed answers every question")
    return array


def two_way_cluster(a: ArrayLike, b: ArrayLike, level: float = 0.95, distribution: str = "t") -> tuple[Estimate, Test]:
    """mean(a) − mean(b) of score matrices [S_a, Q], [S_b, Q], clustered by seed and by question.

    Cameron, Gelbach and Miller (2011): V = V_seed + V_question − V_cell, a seed of A and one of B being different
    clusters, the same question in both arms being one. V_seed and V_question carry the factor G/(G−1). V is never
    taken below its larger part. Student's t with S_a + S_b − 2 df (2S − 2), or "z" for comparison.
    Raises DegenerateInput when the question sets differ in size or an arm has fewer than two seeds.
    """
    x, y = _matrix(a, "arm A"), _matrix(b, "arm B")
    if x.shape[1] != y.shape[1]:
        raise DegenerateInput(f"arms answered {x.shape[1]} and {y.shape[1]} questions: not the same set")
    if min(x.shape[0], y.shape[0]) < 2 or x.shape[1] < 2:
        raise DegenerateInput("two-way clusters need at least two seeds an arm and two questions")
    difference = float(x.mean() - y.mean())
    # Score of each cell: residual divided by its arm's size, signed.
    ex, ey = (x - x.mean()) / x.size, -(y - y.mean()) / y.size
    n_seeds, n_questions = x.shape[0] + y.shape[0], x.shape[1]
    by_seed = sum(float((e.sum(axis=1) ** 2).sum()) * e.shape[0] / (e.shape[0] - 1) for e in (ex, ey))
    by_question = float(((ex.sum(axis=0) + ey.sum(axis=0)) ** 2).sum()) * n_questions / (n_questions - 1)
    by_cell = float((ex**2).sum() + (ey**2).sum())
    variance = max(by_seed + by_question - by_cell, by_seed, by_question)
    df = n_seeds - 2
    name = f"two-way cluster (seed × question), {f't with {df} df' if distribution == 't' else 'z'}"
    if variance <= 0:
        note = "no spread between seeds or questions: no interval"
        return Estimate(difference, None, n_seeds, note), Test(None, None if difference else 1.0, name, note=note)
    se = math.sqrt(variance)
    law = stats.t(df) if distribution == "t" else stats.norm()
    half = float(law.ppf(0.5 + level / 2)) * se
    interval = Interval(difference - half, difference + half, level, name)
    p = float(2 * law.sf(abs(difference) / se))
    return Estimate(difference, interval, n_seeds), Test(difference / se, p, name)


def clustered_mean(values: ArrayLike, clusters: ArrayLike) -> tuple[float, float]:
    """Mean and clustered standard error of question-level scores (Miller 2024, "Adding error bars to evals").

    SE² = Σ_c (Σ_{i∈c} (x_i − x̄))² / n². With every value its own cluster it is the usual SE but for n/(n−1).
    """
    x = finite_vector(values, "scores", at_least=2)
    labels = np.unique(np.asarray(clusters).ravel(), return_inverse=True)[1]
    if labels.size != x.size:
        raise DegenerateInput(f"{x.size} scores but {labels.size} cluster labels")
    sums = np.bincount(labels, weights=x - x.mean())
    return float(x.mean()), float(math.sqrt((sums**2).sum()) / x.size)


def paired_questions(
    a: ArrayLike, b: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95
) -> tuple[Estimate, Test]:
    """Difference of two *checkpoints* on the same questions, Miller's paired (clustered) SE, normal interval.

    Scores of shape [Q] in the same question order. The claim is about the checkpoints only: another seed may differ.
    """
    x, y = finite_vector(a, "checkpoint A", at_least=2), finite_vector(b, "checkpoint B", at_least=2)
    if x.size != y.size:
        raise DegenerateInput(f"checkpoints answered {x.size} and {y.size} questions: not the same set")
    method = "paired questions, clustered SE, z (checkpoint claim)"
    mean, se = clustered_mean(x - y, np.arange(x.size) if clusters is None else clusters)
    if se == 0:
        note = "all differences equal: no interval"
        return Estimate(mean, None, x.size, note), Test(None, 1.0 if mean == 0 else None, method, CHECKPOINT, note=note)
    half = float(stats.norm.ppf(0.5 + level / 2)) * se
    p = float(2 * stats.norm.sf(abs(mean) / se))
    interval = Interval(mean - half, mean + half, level, method)
    return Estimate(mean, interval, x.size), Test(mean / se, p, method, CHECKPOINT)


def cluster_mean_interval(values: ArrayLike, clusters: ArrayLike, level: float = 0.95) -> Estimate:
    """Mean of cluster means (e.g. of a question's forks) with Student's t interval over clusters, G − 1 df.

    Clusters weigh the same. Raises DegenerateInput with fewer than two clusters.
    """
    means = _cluster_means(values, clusters)
    half = float(stats.t.ppf(0.5 + level / 2, means.size - 1) * means.std(ddof=1) / math.sqrt(means.size))
    value = float(means.mean())
    return Estimate(value, Interval(value - half, value + half, level, "t over clusters"), means.size)


def bootstrap_clusters(
    values: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Estimate:
    """Mean of cluster means with the percentile interval of resampled whole clusters.

    Too narrow with few clusters (see `analysis.calibration`): `cluster_mean_interval` holds there.
    """
    means = _cluster_means(values, clusters)
    counts = np.random.default_rng(seed).multinomial(means.size, np.full(means.size, 1 / means.size), draws)
    low, high = np.quantile(counts @ means / means.size, [(1 - level) / 2, (1 + level) / 2])
    method = f"percentile bootstrap of {means.size} clusters ({draws})"
    return Estimate(float(means.mean()), Interval(float(low), float(high), level, method), means.size)


def _cluster_means(values: ArrayLike, clusters: ArrayLike) -> np.ndarray:
    x = finite_vector(values, "values", at_least=2)
    labels = np.unique(np.asarray(clusters).ravel(), return_inverse=True)[1]
    if labels.size != x.size:
        raise DegenerateInput(f"{x.size} values but {labels.size} cluster labels")
    sizes = np.bincount(labels)
    if sizes.size < 2:
        raise DegenerateInput("one cluster: no interval")
    return np.asarray(np.bincount(labels, weights=x) / sizes)
