"""The exact test on seeds: against brute force, against scipy, and consistent with its own interval."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.stats.permutation import (
    best_interval,
    difference_interval,
    mean_interval,
    permutation_interval,
    seed_permutation,
    sign_flip_p,
    smallest_p,
)
from analysis.stats.types import DegenerateInput
from tests.support.examples import examples

scores = st.lists(st.integers(0, 1000).map(lambda k: k / 1000), min_size=2, max_size=5)


def brute_force(a, b, paired):
    """Two-sided p by listing every rearrangement with exact integers."""
    a, b = (np.rint(np.asarray(v) * 1000).astype(int) for v in (a, b))
    if paired:
        observed = (a - b).sum()
        values = [int(np.dot(signs, a - b)) for signs in product((1, -1), repeat=a.size)]
    else:
        pooled, n, m = np.concatenate([a, b]), a.size, b.size
        observed = a.sum() * m - b.sum() * n
        total = pooled.sum()
        values = [
            int(pooled[list(c)].sum() * m - (total - pooled[list(c)].sum()) * n) for c in combinations(range(n + m), n)
        ]
    values = np.array(values)
    return min(1.0, 2 * min((values >= observed).mean(), (values <= observed).mean()))


@settings(max_examples=examples(60), deadline=None)
@given(scores, scores)
def test_unpaired_p_equals_brute_force(a, b):
    assert seed_permutation(a, b).p == pytest.approx(brute_force(a, b, paired=False))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=7))
def test_paired_p_equals_brute_force(pairs):
    a, b = np.array(pairs).T / 1000
    assert seed_permutation(a, b, paired=True).p == pytest.approx(brute_force(a, b, paired=True))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9))
def test_sign_flips_counted_by_halves_equal_brute_force(differences):
    expected = brute_force(np.array(differences) / 1000, np.zeros(len(differences)), paired=True)
    assert sign_flip_p(np.array(differences) / 1000) == pytest.approx(expected)


def test_many_pairs_have_an_exact_p_near_the_sampled_one():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0.02, 0.04, 28), np.zeros(28)
    found = seed_permutation(a, b, paired=True)
    assert found.method == f"exact paired seed permutation ({2**28} rearrangements)"
    sampled = stats.permutation_test(
        (a, b), lambda x, y: x.mean() - y.mean(), permutation_type="samples", n_resamples=9_999, rng=rng
    )
    assert found.p == pytest.approx(sampled.pvalue, abs=0.02)


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_interval_holds_exactly_the_shifts_that_the_test_does_not_reject(seed, paired, level):
    rng = np.random.default_rng(seed)
    n = 6 if paired else 4
    a, b = rng.normal(0.3, 0.02, n), rng.normal(0.28, 0.02, n)
    interval = permutation_interval(a, b, paired, level).interval
    for shift, inside in [
        (interval.low - 1e-7, False),
        (interval.low + 1e-7, True),
        (interval.high - 1e-7, True),
        (interval.high + 1e-7, False),
    ]:
        assert (seed_permutation(a - shift, b, paired).p > 1 - level + 1e-9) == inside


@pytest.mark.parametrize("paired", [False, True])
def test_p_equals_scipys(paired):
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.integers(0, 30, 5) / 30, rng.integers(0, 30, 5) / 30  # with ties
        theirs = stats.permutation_test(
            (a, b),
            lambda x, y: x.mean() - y.mean(),
            permutation_type="samples" if paired else "independent",
            n_resamples=np.inf,
        )
        assert seed_permutation(a, b, paired).p == pytest.approx(theirs.pvalue)


def test_the_t_interval_is_welchs():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.3, 0.02, 5), rng.normal(0.28, 0.05, 3)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    interval = difference_interval(a, b, level=0.9).interval
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_separated_arms_reach_the_smallest_p_and_no_less():
    assert seed_permutation([5, 6, 7, 8, 9], [0, 1, 2, 3, 4]).p == pytest.approx(smallest_p(5, 5))
    assert seed_permutation([5, 6, 7], [0, 1, 2]).p == pytest.approx(0.1)


def test_swapping_the_arms_keeps_p_and_turns_the_difference():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=5), rng.normal(size=4)
    one, two = seed_permutation(a, b), seed_permutation(b, a)
    assert one.p == pytest.approx(two.p)
    assert one.statistic == pytest.approx(-two.statistic)
    first, second = permutation_interval(a, b).interval, permutation_interval(b, a).interval
    assert (first.low, first.high) == pytest.approx((-second.high, -second.low))


def test_many_seeds_are_sampled_with_a_fixed_stream():
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.3, 1, 14), rng.normal(0, 1, 14)
    first = seed_permutation(a, b)
    assert "random draws" in first.method
    assert first == seed_permutation(a, b)
    assert best_interval(a, b).interval.method == "Welch t on seed means"


def test_three_seeds_have_no_exact_95_interval_and_a_note():
    estimate = permutation_interval([0.1, 0.2, 0.3], [0.1, 0.15, 0.2])
    assert estimate.interval is None
    assert "smallest attainable p is 0.1" in estimate.note
    assert best_interval([0.1, 0.2, 0.3], [0.1, 0.15, 0.2]).interval.method == "Welch t on seed means"


def test_degenerate_inputs_have_a_stated_result():
    assert seed_permutation([0.3], [0.2]).p == 1.0
    assert seed_permutation([0.3], [0.2]).note
    assert seed_permutation([0.3, 0.3], [0.3, 0.3]).note == "all values equal"
    assert seed_permutation([0.3, 0.4], [0.3, 0.4], paired=True).p == 1.0
    # A constant paired difference that is not zero is evidence, as far as the design can carry any.
    assert seed_permutation([0.4, 0.5, 0.6], [0.3, 0.4, 0.5], paired=True).p == pytest.approx(0.25)
    assert mean_interval([0.3]).interval is None
    for estimate in (
        mean_interval([0.3, 0.3]),
        difference_interval([0.5, 0.5], [0.3, 0.3]),
        permutation_interval([1.0] * 5, [0.0] * 5),
    ):
        assert estimate.interval is None  # equal seeds are the least information, no certainty
        assert "no interval" in estimate.note
    for bad in ([], [np.nan, 0.1], [np.inf, 0.1]):
        with pytest.raises(DegenerateInput):
            seed_permutation(bad, [0.1, 0.2])
    with pytest.raises(DegenerateInput, match="paired"):
        seed_permutation([0.1, 0.2], [0.1, 0.2, 0.3], paired=True)
