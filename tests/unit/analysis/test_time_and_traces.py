"""Survival, learning speed, traces, regressions, aggregates and power."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.duration.survfunc import SurvfuncRight

from analysis.stats import power
from analysis.stats.aggregate import (
    bootstrap_seeds,
    iqm,
    jackknife_seeds,
    performance_profile,
    probability_of_improvement,
    profile_band,
    seed_question_bootstrap,
)
from analysis.stats.curves import area, time_to_threshold
from analysis.stats.lagged_correlation import lagged_spearman
from analysis.stats.permutation import difference_interval, mean_interval
from analysis.stats.regression import cluster_ols, gee_logit
from analysis.stats.survival import (
    kaplan_meier,
    logrank,
    logrank_permutation,
    logrank_scores,
    restricted_mean_difference,
)
from analysis.stats.types import DegenerateInput
from tests.support.examples import examples

times = st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=examples(60), deadline=None)
@given(times)
def test_kaplan_meier_is_the_product_of_the_shares_that_pass(sample):
    t, e = (np.array(v) for v in zip(*sample, strict=True))
    curve = kaplan_meier(t, e)
    product = 1.0
    for u in np.unique(t):
        product *= 1 - (e & (t == u)).sum() / (t >= u).sum()
        at = curve.time == u
        assert curve.survival[at][0] == pytest.approx(product)
        assert curve.at_risk[at][0] == (t >= u).sum()
    assert curve.time[0] == 0
    assert curve.survival[0] == 1
    assert ((curve.low <= curve.survival + 1e-12) & (curve.survival <= curve.high + 1e-12)).all()
    assert np.isfinite(curve.low).all()


@settings(max_examples=examples(60), deadline=None)
@given(times)
def test_a_clustered_band_is_greenwoods_when_every_episode_is_its_own_cluster(sample):
    t, e = (np.array(v) for v in zip(*sample, strict=True))
    plain, own = kaplan_meier(t, e), kaplan_meier(t, e, clusters=np.arange(t.size))
    if t.size > 1:
        assert own.low == pytest.approx(plain.low)
        assert own.high == pytest.approx(plain.high)


def test_copies_of_an_episode_add_nothing_to_a_clustered_band():
    rng = np.random.default_rng(2)
    t, e = rng.integers(1, 9, 40), rng.random(40) < 0.6
    single = kaplan_meier(t, e, clusters=np.arange(40))
    copied = kaplan_meier(np.repeat(t, 5), np.repeat(e, 5), clusters=np.repeat(np.arange(40), 5))
    naive = kaplan_meier(np.repeat(t, 5), np.repeat(e, 5))
    wide, wider, narrow = ((c.high - c.low).sum() for c in (single, copied, naive))
    assert wider == pytest.approx(wide, rel=0.03)  # the factor G/(G − 1)
    assert narrow < 0.6 * wide
    one = kaplan_meier([1, 2, 3], [1, 1, 0], clusters=[7, 7, 7])
    assert (one.low.min(), one.high.max(), one.note) == (0.0, 1.0, "one question: no band")


def test_no_event_leaves_the_curve_at_one_with_a_note():
    curve = kaplan_meier([3, 4, 5], [False, False, False])
    assert (curve.survival == 1).all()
    assert curve.note
    assert logrank([3, 4], [0, 0], [5, 6], [0, 0]).p == 1.0
    assert restricted_mean_difference([3, 4, 5], [0, 0, 0], [3, 4, 5], [0, 0, 0], 3)[0].value == 0


def test_everybody_at_once_is_no_test():
    assert logrank([2, 2], [1, 1], [2, 2], [1, 1]).note
    assert logrank([1, 1], [1, 1], [5, 6], [0, 0]).p < 1


@settings(max_examples=examples(40), deadline=None)
@given(times)
def test_without_censoring_the_restricted_mean_is_a_mean(sample):
    t = np.array([u for u, _ in sample], dtype=float)
    horizon = float(t.max())
    zero = np.zeros(1)  # its restricted mean is 0 and has no variance
    estimate, _ = restricted_mean_difference(t, np.ones(t.size), zero, np.ones(1), horizon)
    assert estimate.value == pytest.approx(np.minimum(t, horizon).mean())
    if np.ptp(t) > 0:
        half = (estimate.interval.high - estimate.interval.low) / 2
        assert half / 1.959964 == pytest.approx(t.std() / np.sqrt(t.size), rel=1e-6)


def test_greenwood_agrees_with_statsmodels():
    rng = np.random.default_rng(0)
    t, e = rng.integers(1, 20, 60), rng.random(60) < 0.6
    ours, theirs = kaplan_meier(t, e), SurvfuncRight(t, e.astype(int))
    at = np.isin(ours.time, theirs.surv_times)
    assert ours.survival[at] == pytest.approx(theirs.surv_prob)


def test_a_horizon_beyond_the_data_is_refused():
    with pytest.raises(DegenerateInput, match="horizon"):
        restricted_mean_difference([3, 4], [1, 0], [3, 4], [1, 1], 6)
    difference, test = restricted_mean_difference([1, 2, 3], [1, 1, 1], [2, 3, 4], [1, 1, 1], 4)
    assert difference.value == pytest.approx(-1)
    assert 0 < test.p < 1


def test_area_of_a_straight_line_is_its_middle():
    assert area([0, 5, 20], [0.0, 0.25, 1.0]) == pytest.approx(0.5)
    assert area([3], [0.7]) == 0.7
    with pytest.raises(DegenerateInput, match="rise"):
        area([0, 0], [1, 1])


def test_a_threshold_must_be_held_for_as_long_as_asked():
    steps, curve = [0, 5, 10, 15, 20], [0.1, 0.4, 0.2, 0.4, 0.5]
    assert time_to_threshold(steps, curve, 0.4).time == 5
    assert time_to_threshold(steps, curve, 0.4, sustained=2).time == 15
    never = time_to_threshold(steps, curve, 0.4, sustained=3)
    assert (never.time, never.reached) == (20, False)
    assert not time_to_threshold(steps, curve, 0.9).reached


def drifting_runs(n, coupled, rng, length=40):
    runs = []
    for _ in range(n):
        x = np.cumsum(rng.normal(size=length))
        y = rng.normal(size=length)
        if coupled:
            y[2:] -= 2 * x[:-2]
        runs.append((x, y))
    return runs


def test_a_lagged_link_is_found_at_its_lag():
    result = lagged_spearman(drifting_runs(4, True, np.random.default_rng(0)), difference=True)
    assert result.strongest[0] == 2
    assert result.strongest[1] < -0.5
    assert result.test.p < 0.01


def test_rhythm_without_a_link_is_not_mistaken_for_one():
    """Strongly autocorrelated stationary traces: the naive p is far off, the rotated one is not."""
    rng = np.random.default_rng(1)
    rejected = 0
    for i in range(100):
        runs = []
        for _ in range(3):
            noise = rng.normal(size=(2, 60))
            for t in range(1, 60):
                noise[:, t] += 0.8 * noise[:, t - 1]
            runs.append((noise[0], noise[1]))
        rejected += lagged_spearman(runs, draws=199, seed=i).test.p <= 0.05
    assert rejected <= 12  # 5 expected, SD 2.2


def test_traces_that_cannot_correlate():
    flat = [(np.ones(20), np.arange(20.0))] * 2
    assert lagged_spearman(flat).test.p == 1.0
    with pytest.raises(DegenerateInput, match="at least"):
        lagged_spearman([(np.arange(5.0), np.arange(5.0))])
    with pytest.raises(DegenerateInput, match="no run"):
        lagged_spearman([])


def test_the_log_rank_scores_sum_to_the_numerator_of_the_log_rank_test():
    rng = np.random.default_rng(4)
    t, e = rng.integers(1, 9, 14).astype(float), rng.random(14) < 0.7
    scores = logrank_scores(t, e)
    observed_minus_expected = 0.0
    for u in np.unique(t[e]):
        n, na = (t >= u).sum(), (t[:7] >= u).sum()
        observed_minus_expected += (e[:7] & (t[:7] == u)).sum() - (e & (t == u)).sum() * na / n
    assert scores[:7].sum() == pytest.approx(observed_minus_expected)
    assert scores.sum() == pytest.approx(0, abs=1e-12)


def test_the_exact_log_rank_counts_the_rearrangements_of_runs():
    early, late = [5, 10, 5, 10, 5], [30, 25, 30, 20, 30]
    test = logrank_permutation(early, [True] * 5, late, [False, True, False, True, False])
    assert test.p == pytest.approx(2 / 252)
    assert "252" in test.method
    nobody = logrank_permutation([9, 9], [False] * 2, [9, 9], [False] * 2)
    assert (nobody.p, nobody.note) == (1.0, "no event in either arm")
    together = logrank_permutation([5, 5], [True] * 2, [5, 5], [True] * 2)
    assert (together.p, together.note) == (1.0, "all events come at the same time")


def test_clustered_least_squares_recovers_a_slope_and_widens_with_clusters():
    rng = np.random.default_rng(3)
    runs = np.repeat(np.arange(12), 50)
    x = rng.normal(size=600)
    y = 0.5 * x + rng.normal(0, 1, 12)[runs] + rng.normal(size=600)
    fit = cluster_ols(y, {"x": x}, runs)
    assert fit["x"].interval.low < 0.5 < fit["x"].interval.high
    alone = cluster_ols(y, {"x": x}, np.arange(600))
    assert fit["intercept"].se > 3 * alone["intercept"].se
    assert cluster_ols(y, {"x": x, "again": x}, runs).note == "the columns are linearly dependent"
    assert cluster_ols(y, {"x": x}, np.zeros(600)).note.startswith("one cluster")


def test_gee_recovers_log_odds_and_names_separation():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 10)
    x = rng.integers(0, 2, 600).astype(float)
    y = (rng.random(600) < 1 / (1 + np.exp(-(-0.5 + x)))).astype(float)
    fit = gee_logit(y, {"x": x}, clusters)
    odds = np.log(y[x == 1].mean() / (1 - y[x == 1].mean())) - np.log(y[x == 0].mean() / (1 - y[x == 0].mean()))
    assert fit["x"].value == pytest.approx(odds, abs=1e-6)
    assert fit["x"].interval.low < 1 < fit["x"].interval.high
    separated = gee_logit(x, {"x": x}, clusters)
    assert not separated.coefficients
    assert "separation" in separated.note
    with pytest.raises(KeyError, match="separation"):
        separated["x"]
    assert gee_logit(np.ones(600), {"x": x}, clusters).note == "the outcome never varies"


def test_aggregates_resample_whole_seeds():
    """With suites that share a seed effect, the interval must not shrink with the number of suites."""
    rng = np.random.default_rng(0)
    seeds = rng.normal(0.3, 0.05, (6, 1))
    one = bootstrap_seeds([seeds], iqm, draws=500).interval
    many = bootstrap_seeds([np.repeat(seeds, 10, axis=1)], lambda s: float(s.mean()), draws=500).interval
    plain = bootstrap_seeds([seeds], lambda s: float(s.mean()), draws=500).interval
    assert many.high - many.low == pytest.approx(plain.high - plain.low)
    assert one.high > one.low
    assert bootstrap_seeds([seeds[:1]], iqm).interval is None


def test_the_jackknife_of_a_mean_is_the_t_interval_over_seeds():
    scores = np.random.default_rng(0).random((6, 4))
    jack = jackknife_seeds([scores], lambda s: float(s.mean())).interval
    plain = mean_interval(scores.mean(axis=1)).interval
    assert (jack.low, jack.high) == pytest.approx((plain.low, plain.high))
    a, b = np.random.default_rng(1).random((5, 4)), np.random.default_rng(2).random((7, 4))
    both = jackknife_seeds([a, b], lambda x, y: float(x.mean() - y.mean())).interval
    welch = difference_interval(a.mean(axis=1), b.mean(axis=1)).interval
    assert (both.low, both.high) == pytest.approx((welch.low, welch.high))


def test_a_jackknife_without_spread_gives_no_interval_and_a_reason():
    assert jackknife_seeds([np.ones((1, 3))], iqm).note == "one seed in an arm: no interval"
    apart = jackknife_seeds([np.ones((5, 3)), np.zeros((5, 3))], probability_of_improvement)
    assert (apart.value, apart.interval) == (1.0, None)
    assert "no spread" in apart.note


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 99))
def test_the_interquartile_mean_is_scipys(seeds, suites, stream):
    scores = np.random.default_rng(stream).random((seeds, suites))
    assert iqm(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_a_bootstrap_is_the_same_every_time():
    a, b = (np.random.default_rng(i).random((5, 4)) for i in (0, 1))
    assert bootstrap_seeds([a, b], probability_of_improvement) == bootstrap_seeds([a, b], probability_of_improvement)
    assert seed_question_bootstrap(a, b) == seed_question_bootstrap(a, b)


def test_probability_of_improvement_is_antisymmetric_and_half_at_a_tie():
    a, b = (np.random.default_rng(i).random((5, 4)) for i in (0, 1))
    assert probability_of_improvement(a, b) + probability_of_improvement(b, a) == pytest.approx(1)
    assert probability_of_improvement(a, a) == pytest.approx(0.5)


def test_the_profile_falls_from_one_to_zero():
    scores = np.random.default_rng(0).random((5, 7))
    grid = np.linspace(-0.01, 1, 50)
    profile, low, high = profile_band(scores, grid)
    assert profile == pytest.approx(performance_profile(scores, grid))
    assert profile[0] == 1
    assert profile[-1] == 0
    assert (np.diff(profile) <= 0).all()
    assert ((low <= profile + 1e-12) & (profile <= high + 1e-12)).all()


def test_no_power_where_the_design_cannot_reach_alpha():
    assert power.seed_power(10.0, 1.0, 3) == 0.0
    assert power.detectable_effect(0.02, 3) is None
    assert power.seeds_needed(0.2, 0.02) == 4


def test_power_rises_with_effect_and_seeds_and_falls_to_alpha_without_an_effect():
    assert power.seed_power(0.0, 1.0, 5) == pytest.approx(0.0476, abs=0.015)
    assert power.seed_power(1.0, 1.0, 5) < power.seed_power(2.0, 1.0, 5) < power.seed_power(2.0, 1.0, 8)
    effect = power.detectable_effect(0.02, 5)
    assert power.seed_power(effect, 0.02, 5) == pytest.approx(0.8, abs=0.01)


def test_power_of_many_seeds_joins_the_enumerated_part_smoothly():
    exact, by_t = power.seed_power(1.0, 1.0, 8), power.seed_power(1.0, 1.0, 9)
    assert exact - 0.03 < by_t < exact + 0.1


def test_more_questions_stop_helping_where_seeds_differ():
    assert power.seed_mean_sd(0.017, 0.45, 10_000) == pytest.approx(0.017, abs=0.001)
    assert power.seed_mean_sd(0.0, 0.45, 100) == pytest.approx(0.045)
