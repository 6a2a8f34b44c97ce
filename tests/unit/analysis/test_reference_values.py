"""Published numbers that every statistic here must give."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.aggregate import iqm, probability_of_improvement
from analysis.stats.multiplicity import holm
from analysis.stats.permutation import smallest_p
from analysis.stats.power import question_power_n
from analysis.stats.proportions import mcnemar, newcombe, rule_of_three, wilson
from analysis.stats.survival import logrank

# scipy.stats.logrank's own example: weeks of survival with two kinds of recurrent glioma (deaths, then censored).
ASTROCYTOMA = ([6, 13, 21, 30, 37, 38, 49, 50, 63, 79, 86, 98, 202, 219], [31, 47, 80, 82, 82, 149])
GLIOBLASTOMA = (
    [10, 10, 12, 13, 14, 15, 16, 17, 18, 20, 24, 24, 25, 28, 30, 33, 35, 37, 40, 40, 46, 48, 76, 81, 82, 91, 112, 181],
    [34, 40, 70],
)


def test_wilson():
    interval = wilson(18, 20).interval
    assert (interval.low, interval.high) == pytest.approx((0.698966, 0.972134), abs=5e-7)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((56, 70, 48, 80), (0.0524, 0.3339)), ((7, 34, 1, 34), (0.019, 0.34))],
)
def test_newcombe(counts, expected):
    interval = newcombe(*counts).interval
    digits = 5e-5 if counts[0] == 56 else 5e-3
    assert (interval.low, interval.high) == pytest.approx(expected, abs=digits)


def test_mcnemar():
    table = [[794, 86], [150, 570]]
    assert mcnemar(table).p == pytest.approx(3.716e-5, abs=5e-9)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_logrank():
    (t, e), (c, f) = (
        (deaths + censored, [True] * len(deaths) + [False] * len(censored))
        for deaths, censored in (ASTROCYTOMA, GLIOBLASTOMA)
    )
    result = logrank(t, e, c, f)
    assert result.statistic == pytest.approx(-2.73799, abs=5e-6)
    assert result.p == pytest.approx(0.0061816, abs=5e-8)


def test_miller_sample_size():
    assert question_power_n(omega2=1 / 9, effect=0.03) == pytest.approx(968.997, abs=5e-3)


def test_rliable_unit_test():
    x = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
    y = np.array([[1, 1], [2, 2], [3, 3]])
    assert probability_of_improvement(x, y) == pytest.approx(1 / 3)
    assert iqm(x) == 1.5
    assert iqm(y) == 2


@pytest.mark.parametrize(
    ("seeds", "paired", "expected"),
    [(5, True, 0.0625), (6, True, 0.031), (8, True, 0.0078), (3, False, 0.10), (5, False, 0.0079)],
)
def test_smallest_attainable_p(seeds, paired, expected):
    assert smallest_p(seeds, seeds, paired) == pytest.approx(expected, rel=0.01)


def test_rule_of_three():
    assert rule_of_three(100) == pytest.approx(0.0295, abs=5e-5)
    assert rule_of_three(10_000) == pytest.approx(3 / 10_000, rel=0.002)
