"""Contrasts whose units are the levels of a random factor (start policies, imitation seeds), not the runs below them.

Runs that share a level share its effect, so they are no independent units. The permutation is at the level at which
the treatment is assigned: nested, where each level has one treatment alone, level means are permuted between arms;
crossed, where each level has both, the signs of a level's own differences are flipped. Two factors that are crossed
with each other have no such permutation: `crossed_levels`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.permutation import best_interval, seed_permutation
from analysis.stats.types import DegenerateInput, Estimate, Test, finite_vector


class Assignment(StrEnum):
    NESTED = "nested"
    CROSSED = "crossed"


def assignment(levels_a: Sequence[Hashable], levels_b: Sequence[Hashable]) -> Assignment:
    """Nested where the arms share no level, crossed where they have the same ones. Raises DegenerateInput between."""
    a, b = set(levels_a), set(levels_b)
    if a == b:
        return Assignment.CROSSED
    if a & b:
        alone = ", ".join(sorted(map(str, a ^ b)))
        raise DegenerateInput(f"levels with one arm alone beside levels with both: {alone}")
    return Assignment.NESTED


def level_means(values: ArrayLike, levels: Sequence[Hashable]) -> dict[Hashable, float]:
    """Level → mean of its runs, in order of first appearance."""
    x = finite_vector(values, "runs")
    if x.size != len(levels):
        raise DegenerateInput(f"{x.size} runs but {len(levels)} levels")
    return {level: float(np.mean([v for v, own in zip(x, levels, strict=True) if own == level])) for level in levels}


def level_contrast(
    a: ArrayLike,
    levels_a: Sequence[Hashable],
    b: ArrayLike,
    levels_b: Sequence[Hashable],
    level: float = 0.95,
) -> tuple[Estimate, Test]:
    """mean(a) − mean(b) over levels of one random factor, by permutation of levels, interval clustered by level.

    A claim about further levels. Levels weigh the same whatever their runs. Raises DegenerateInput, also where some
    levels have both arms and others one.
    """
    paired = assignment(levels_a, levels_b) is Assignment.CROSSED
    first, second = level_means(a, levels_a), level_means(b, levels_b)
    x = np.array(list(first.values()))
    y = np.array([second[k] for k in first] if paired else list(second.values()))
    return best_interval(x, y, paired, level), seed_permutation(x, y, paired)
