"""Clustered errors and rates: closed forms, other routes to the same number, degenerate inputs."""

from __future__ import annotations

import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.multitest import multipletests

from analysis.stats.cluster import clustered_mean, paired_questions, two_way_cluster
from analysis.stats.multiplicity import holm, tost
from analysis.stats.proportions import (
    clustered_wilson,
    mcnemar,
    paired_table,
    two_proportion_z,
    wilson,
)
from analysis.stats.types import CHECKPOINT, DegenerateInput
from tests.support.examples import examples


def matrices(seed=0, seeds=(4, 5), questions=60):
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 1, questions)
    return [
        ((hard + rng.normal(0, 0.3, (s, 1)) + rng.normal(0, 1, (s, questions))) > 0.3 - shift).astype(float)
        for s, shift in zip(seeds, (0.3, 0.0), strict=True)
    ]


def test_two_way_cluster_is_the_sum_of_three_regressions_of_statsmodels():
    a, b = matrices(seeds=(5, 5))
    y = np.concatenate([a.ravel(), b.ravel()])
    arm = np.repeat([1.0, 0.0], [a.size, b.size])
    seed = np.concatenate([np.repeat(np.arange(5), 60), 5 + np.repeat(np.arange(5), 60)])
    question = np.tile(np.arange(60), 10)
    x = np.column_stack([np.ones_like(arm), arm])

    def variance(groups):
        return (
            OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}).cov_params()[1, 1]
        )

    cell = np.arange(y.size)
    by_seed, by_question = variance(seed) * 5 / 4, variance(question) * 60 / 59
    expected = max(by_seed + by_question - variance(cell), by_seed, by_question)
    estimate, test = two_way_cluster(a, b)
    assert estimate.value == pytest.approx(a.mean() - b.mean())
    assert (estimate.value / test.statistic) ** 2 == pytest.approx(expected, rel=1e-9)
    half = stats.t.ppf(0.975, 8) * math.sqrt(expected)
    assert estimate.interval.high - estimate.interval.low == pytest.approx(2 * half)


def test_z_is_narrower_than_t():
    a, b = matrices()
    t, z = two_way_cluster(a, b)[0].interval, two_way_cluster(a, b, distribution="z")[0].interval
    assert z.high - z.low < t.high - t.low


def test_two_way_cluster_refuses_what_it_cannot_use():
    a, b = matrices()
    with pytest.raises(DegenerateInput, match="not the same set"):
        two_way_cluster(a, b[:, :-1])
    with pytest.raises(DegenerateInput, match="two seeds"):
        two_way_cluster(a[:1], b)
    with pytest.raises(DegenerateInput, match="missing"):
        two_way_cluster(np.where(a > 2, a, np.nan), b)
    estimate, test = two_way_cluster(np.ones((3, 10)), np.ones((3, 10)))
    assert estimate.interval is None
    assert "no spread" in estimate.note
    assert test.p == 1.0


def test_every_question_its_own_cluster_gives_the_usual_standard_error():
    x = np.random.default_rng(0).normal(size=50)
    mean, se = clustered_mean(x, np.arange(50))
    assert mean == pytest.approx(x.mean())
    assert se == pytest.approx(x.std() / math.sqrt(50))


def test_duplicated_questions_add_nothing_when_clustered():
    x = np.random.default_rng(0).normal(size=50)
    _, single = clustered_mean(x, np.arange(50))
    _, doubled = clustered_mean(np.repeat(x, 2), np.repeat(np.arange(50), 2))
    assert doubled == pytest.approx(single)


def test_question_level_tests_are_labelled_checkpoint_claims():
    a, b = matrices()
    estimate, test = paired_questions(a[0], b[0])
    assert test.claim == CHECKPOINT
    assert "checkpoint" in estimate.interval.method
    assert mcnemar(paired_table(a[0], b[0])).claim == CHECKPOINT
    assert two_proportion_z(10, 20, 12, 20).claim == CHECKPOINT


def test_checkpoints_that_never_differ():
    estimate, test = paired_questions([1, 0, 1], [1, 0, 1])
    assert (estimate.value, test.p) == (0.0, 1.0)
    assert mcnemar([[5, 0], [0, 3]]).p == 1.0
    with pytest.raises(DegenerateInput):
        paired_table([1, 0], [1, 0, 1])


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(0, 10_000))
def test_more_agreement_within_questions_never_narrows_the_interval(seed):
    rng = np.random.default_rng(seed)
    outcomes = rng.random(80) < 0.4
    repeated = np.repeat(outcomes, 4).astype(float)  # four answers, always alike
    clusters = np.repeat(np.arange(80), 4)
    plain = wilson(float(repeated.sum()), repeated.size).interval
    sums = np.bincount(clusters, weights=repeated)
    wide = clustered_wilson(sums, np.full(80, 4)).interval
    assert wide.high - wide.low >= plain.high - plain.low
    if 0 < outcomes.sum() < 80:
        effective = wilson(float(outcomes.sum()) * 79 / 80, 79).interval  # 320 answers, design effect 4 · 80/79
        assert (wide.low, wide.high) == pytest.approx((effective.low, effective.high))


def test_a_perfect_rate_has_an_honest_lower_end():
    estimate = clustered_wilson(np.full(30, 8), np.full(30, 8))
    assert estimate.value == 1.0
    assert estimate.interval.low == pytest.approx(wilson(30, 30).interval.low)
    assert estimate.note
    assert clustered_wilson([3], [8]).interval is None
    with pytest.raises(DegenerateInput):
        clustered_wilson([0], [0])


def test_holm_skips_missing_tests_and_rejects_nonsense():
    assert holm([0.01, None, 0.04]) == [pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    with pytest.raises(DegenerateInput):
        holm([1.2])


def test_equivalence_needs_a_margin_wider_than_the_noise():
    a, b = [0.30, 0.31, 0.29, 0.30, 0.31], [0.30, 0.30, 0.31, 0.29, 0.30]
    assert tost(a, b, 0.03).p < 0.01
    assert tost(a, b, 0.003).p > 0.05
    assert tost(a, [v + 0.1 for v in b], 0.03).p > 0.9
    assert tost(a[:1], b, 0.03).p is None
    assert tost([0.3, 0.3], [0.3, 0.3], 0.03).note
    with pytest.raises(DegenerateInput):
        tost(a, b, 0)


@settings(max_examples=examples(20))
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values):
    with mock.patch("gc.collect"):  # statsmodels collects garbage on every call, which takes longer than its sums
        theirs = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(theirs)


@pytest.mark.parametrize("paired", [True, False])
def test_equivalence_agrees_with_the_interval_at_twice_alpha(paired):
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b = rng.normal(0.30, 0.01, 5), rng.normal(0.29, 0.01, 5)
        if paired:
            ci = stats.ttest_rel(a, b).confidence_interval(0.90)
        else:
            ci = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.90)
        inside = ci.low > -0.02 and ci.high < 0.02
        found = tost(a, b, 0.02, paired)
        assert (found.p < 0.05) == inside
        assert (found.interval.low, found.interval.high) == pytest.approx((ci.low, ci.high))
