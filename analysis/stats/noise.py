"""Spread of runs split into evaluation noise (a coin flip a question) and what seeds themselves differ by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.stats.types import DegenerateInput, Interval


@dataclass(frozen=True, slots=True)
class NoiseSplit:
    """SDs of a run's mean score: `total` over seeds = √(`noise`² + `seed`²). `seed` is 0 where noise alone gives more
    than the spread seen; `seed_interval` from the χ² law of the total variance, the noise taken as known."""

    total: float
    noise: float
    seed: float
    seed_interval: Interval
    seeds: int
    questions: int

    def noise_at(self, questions: int) -> float:
        """SD of evaluation noise with another number of questions of the same kind."""
        return self.noise * math.sqrt(self.questions / questions)

    @property
    def noise_explains(self) -> bool:
        """Whether coin flips alone could give the spread: the interval of the seeds' own SD holds 0."""
        return self.seed_interval.low == 0.0


def split_noise(scores: ArrayLike, weights: ArrayLike | None = None, level: float = 0.95) -> NoiseSplit:
    """Split of the spread of runs' means of `scores` [seeds, questions], in [0, 1], every question asked once a run.

    A question's answers over S seeds have the unbiased variance S/(S−1)·p(1−p); their weighted sum is the variance that
    a run's mean has from independent answers at each question's own probability. It holds seed × question interaction,
    which more questions reduce as well. `weights` [questions] sum to 1, by default equal. Raises DegenerateInput.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or x.shape[0] < 3 or x.shape[1] < 2 or not np.isfinite(x).all():
        raise DegenerateInput(f"a finite matrix of at least 3 seeds × 2 questions is needed, got shape {x.shape}")
    if (x < 0).any() or (x > 1).any():
        raise DegenerateInput("scores have to lie in [0, 1]")
    seeds, questions = x.shape
    w = np.full(questions, 1 / questions) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (questions,):
        raise DegenerateInput(f"{questions} questions but weights of shape {w.shape}")
    noise = float((w**2 * x.var(axis=0, ddof=1)).sum())
    total = float((x @ w).var(ddof=1))
    ends = [(seeds - 1) * total / float(stats.chi2.ppf(q, seeds - 1)) for q in (0.5 + level / 2, 0.5 - level / 2)]
    low, high = (math.sqrt(max(0.0, end - noise)) for end in ends)
    interval = Interval(low, high, level, "χ² of the total variance, less the noise")
    return NoiseSplit(
        math.sqrt(total), math.sqrt(noise), math.sqrt(max(0.0, total - noise)), interval, seeds, questions
    )
