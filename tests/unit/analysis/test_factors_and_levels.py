"""Main effects over cells, random factors, ANCOVA and clusters, against enumeration, scipy and statsmodels."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.anova import anova_lm

from analysis.factorial_designs import effect_sentences, interactions, main_effects
from analysis.registered_plan import AnalysisPlan
from analysis.stats.ancova import adjusted_difference
from analysis.stats.cluster import bootstrap_clusters, cluster_mean_interval
from analysis.stats.crossed_levels import crossed_contrast, crossed_law
from analysis.stats.multiplicity import tost
from analysis.stats.permutation import difference_interval, seed_permutation
from analysis.stats.pooled_effects import interaction, main_effect
from analysis.stats.random_levels import Assignment, assignment, level_contrast
from analysis.stats.student_law import StudentLaw
from analysis.stats.types import DegenerateInput
from tests.support.synthetic_sweep import factorial_frames

RNG = np.random.default_rng(3)
values = st.lists(st.integers(-20, 20), min_size=3, max_size=3).map(lambda v: np.array(v) / 10)


@given(values, values, values, values, st.integers(-50, 50))
def test_a_main_effect_counts_every_rearrangement_within_cells(a0, b0, a1, b1, shift):
    cells = [(a0, b0), (a1 + shift, b1 + shift)]  # a cell's own level does not enter
    estimate, test = main_effect(cells)

    def splits(a, b):
        pooled = np.concatenate([a, b])
        for chosen in combinations(range(6), 3):
            rest = [i for i in range(6) if i not in chosen]
            yield pooled[list(chosen)].mean() - pooled[rest].mean()

    law = np.array([x + y for x, y in product(*(splits(a, b) for a, b in cells))]) / 2
    observed = (a0.mean() - b0.mean() + a1.mean() - b1.mean()) / 2
    expected = min(1.0, 2 * min((law >= observed - 1e-9).mean(), (law <= observed + 1e-9).mean()))
    assert estimate.value == pytest.approx(observed)
    assert test.p == pytest.approx(expected)
    assert test.smallest_p == pytest.approx(2 / 400)


def test_a_main_effect_over_one_cell_is_the_simple_contrast():
    a, b = RNG.normal(0.1, 0.1, 5), RNG.normal(0, 0.2, 6)
    estimate, test = main_effect([(a, b)])
    assert test.p == pytest.approx(seed_permutation(a, b).p)
    welch = difference_interval(a, b).interval
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((welch.low, welch.high))


def test_many_cells_are_sampled_and_agree_with_the_normal_law():
    cells = [(RNG.normal(0.03 + c, 0.1, 6), RNG.normal(c, 0.1, 6)) for c in range(5)]
    estimate, test = main_effect(cells)
    assert "random draws" in test.method
    se = np.sqrt(sum(np.var(np.concatenate([a - a.mean(), b - b.mean()])) * 2 / 6 for a, b in cells)) / 5
    assert test.p == pytest.approx(2 * stats.norm.sf(abs(estimate.value) / se), abs=0.06)
    assert main_effect(cells)[1].p == test.p


def test_paired_seeds_count_once_whatever_the_number_of_cells():
    a, b = RNG.normal(0.1, 0.1, 8), RNG.normal(0, 0.1, 8)
    one, many = main_effect([(a, b)], paired=True), main_effect([(a, b)] * 4, paired=True)
    assert many[1].p == one[1].p == seed_permutation(a, b, paired=True).p
    with pytest.raises(DegenerateInput, match="different numbers"):
        main_effect([(a, b), (a[:5], b[:5])], paired=True)


def test_an_interaction_is_the_double_difference_with_its_t_law():
    a1, b1, a0, b0 = (RNG.normal(m, 0.1, 7) for m in (0.3, 0.0, 0.1, 0.0))
    paired = interaction((a1, b1), (a0, b0), paired=True)
    double = (a1 - b1) - (a0 - b0)
    low, high = stats.t.interval(0.95, 6, double.mean(), stats.sem(double))
    assert (paired[0].interval.low, paired[0].interval.high) == pytest.approx((low, high))
    assert paired[1].p == pytest.approx(seed_permutation(double, np.zeros(7), paired=True).p)
    estimate, test = interaction((a1, b1), (a0, b0))
    assert estimate.value == pytest.approx(double.mean())
    se = np.sqrt(sum(v.var(ddof=1) / 7 for v in (a1, b1, a0, b0)))
    df = se**4 / sum((v.var(ddof=1) / 7) ** 2 / 6 for v in (a1, b1, a0, b0))
    assert test.p == pytest.approx(2 * stats.t.sf(abs(estimate.value) / se, df))


def test_main_effects_of_a_study_pool_its_cells_and_name_interactions():
    plan = AnalysisPlan("eval/em", "objective.unit", "turn", "token")
    frames = factorial_frames(effect=0.02, extra=0.06)
    first, second = main_effects(frames, plan)
    assert (first.axis, first.treatment, first.baseline, first.cells) == ("objective.unit", "turn", "token", 2)
    assert first.estimate.value == pytest.approx(0.05, abs=0.015)
    assert second.estimate.value == pytest.approx(0.33, abs=0.015)
    assert first.test.p < 0.01
    assert "mean of 2 cells, differs: +4" in effect_sentences([first], plan)[0]
    (crossed,) = interactions(frames, plan)
    assert abs(crossed.estimate.value) == pytest.approx(0.06, abs=0.03)
    assert crossed.estimate.interval.low * crossed.estimate.interval.high > 0
    assert "reduction" in crossed.label
    none = main_effects(factorial_frames(0.0, 0.0), plan)[0]
    assert none.test.p > 0.05


def test_runs_below_a_level_do_not_add_evidence():
    a, b = RNG.normal(0.2, 0.1, 5), RNG.normal(0, 0.1, 5)
    single = level_contrast(a, list("abcde"), b, list("vwxyz"))
    many = level_contrast(np.repeat(a, 6), list(np.repeat(list("abcde"), 6)), b, list("vwxyz"))
    assert single[1].p == many[1].p == seed_permutation(a, b).p
    ends = [(found.interval.low, found.interval.high) for found, _ in (single, many)]
    assert ends[0] == pytest.approx(ends[1])


def test_crossed_levels_are_paired_by_name_and_not_by_place():
    a, b = RNG.normal(0.2, 0.1, 7), RNG.normal(0, 0.1, 7)
    order = RNG.permutation(7)
    found = level_contrast(a, list(range(7)), b[order], order.tolist())
    assert found[1].p == seed_permutation(a, b, paired=True).p
    assert assignment([1, 2], [2, 1]) is Assignment.CROSSED
    assert assignment([1, 2], [3]) is Assignment.NESTED
    with pytest.raises(DegenerateInput, match="one arm alone beside levels with both: 1, 3"):
        level_contrast([0.1, 0.2], [1, 2], [0.1, 0.2], [2, 3])


CROSSED, NESTED = Assignment.CROSSED, Assignment.NESTED


def crossed_differences(rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(4)  # data of which neither factor alone is the larger variance
    own = rng.normal(0, 0.1, rows)[:, None] + rng.normal(0, 0.1, columns)[None, :]
    return rng.normal(0.1, 0.02, (rows, columns)) + own


def test_two_crossed_random_factors_have_the_quasi_f_of_an_analysis_of_variance():
    d = crossed_differences(6, 4)
    frame = pd.DataFrame({"d": d.ravel(), "row": np.repeat(np.arange(6), 4), "column": np.tile(np.arange(4), 6)})
    table = anova_lm(ols("d ~ C(row) + C(column)", frame).fit())
    row, column, cell = (table["sum_sq"] / table["df"])[["C(row)", "C(column)", "Residual"]]
    denominator = row + column - cell
    df = denominator**2 / (row**2 / 5 + column**2 / 3 + cell**2 / 15)
    estimate, test = crossed_contrast(d, np.zeros_like(d), CROSSED, CROSSED)
    assert estimate.value == pytest.approx(d.mean())
    assert test.p == pytest.approx(stats.f.sf(24 * d.mean() ** 2 / denominator, 1, df))
    assert estimate.n == 4
    assert (estimate.interval.low > 0) == (test.p < 0.05)


def test_one_shared_factor_takes_its_own_level_out_of_the_contrast():
    rng = np.random.default_rng(5)
    x, y = rng.normal(0, 0.02, (2, 5, 6)) + rng.normal(0, 0.02, (2, 5))[:, :, None]
    level = rng.normal(0, 10, 6)
    plain = crossed_law(x, y, NESTED, CROSSED)
    assert crossed_law(x + level, y + level, NESTED, CROSSED).error == pytest.approx(plain.error)
    assert crossed_law(x + level, y + level, NESTED, NESTED).error > 100 * plain.error


def test_levels_without_an_effect_of_their_own_give_the_error_of_independent_cells():
    d = np.random.default_rng(6).normal(0, 1, (40, 40))
    law = crossed_law(d, np.zeros_like(d), CROSSED, CROSSED)
    assert law.error == pytest.approx(1 / 40, rel=0.3)


def test_a_contrast_over_two_factors_needs_levels_that_fit_and_differ():
    d = crossed_differences(6, 4)
    with pytest.raises(DegenerateInput, match="at least 2 × 2"):
        crossed_law(d[:1], d[:1], CROSSED, CROSSED)
    with pytest.raises(DegenerateInput, match="6 in one arm and 5 in the other"):
        crossed_law(d, d[:5], CROSSED, CROSSED)
    with pytest.raises(DegenerateInput, match="no spread"):
        crossed_law(d, d, CROSSED, CROSSED)


def test_equivalence_by_a_t_law_is_that_of_two_one_sided_tests():
    x = np.random.default_rng(7).normal(0.01, 0.05, 9)
    law = StudentLaw(float(x.mean()), float(x.std(ddof=1) / 3), 8)
    expected = tost(x, np.zeros(9), 0.04, paired=True)
    found = law.equivalence(0.04, 0.05, "pairs")
    assert found.p == pytest.approx(expected.p)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))


def test_the_adjusted_difference_is_the_coefficient_of_least_squares():
    x = RNG.normal(0, 1, 11)
    y = 0.5 * x + np.repeat([0.4, 0.0], [5, 6]) + RNG.normal(0, 0.3, 11)
    group = np.repeat([1.0, 0.0], [5, 6])
    fit = OLS(y, np.column_stack([np.ones(11), group, x])).fit()
    estimate, test = adjusted_difference(y[:5], y[5:], x[:5], x[5:])
    assert estimate.value == pytest.approx(fit.params[1])
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx(tuple(fit.conf_int()[1]))

    law = []
    for chosen in combinations(range(11), 5):
        permuted = np.isin(np.arange(11), chosen).astype(float)
        law.append(OLS(y, np.column_stack([np.ones(11), permuted, x])).fit().tvalues[1])
    t, law = fit.tvalues[1], np.array(law)
    expected = min(1.0, 2 * min((law >= t - 1e-9).mean(), (law <= t + 1e-9).mean()))
    assert test.p == pytest.approx(expected)
    assert test.method.endswith("(exact, 462 rearrangements)")


def test_branched_pairs_are_adjusted_for_the_level_they_start_from():
    x = RNG.normal(0, 1, 8)
    b = RNG.normal(0, 0.1, 8)
    a = b + 0.2 + 0.5 * (x - x.mean()) + RNG.normal(0, 0.05, 8)
    fit = OLS(a - b, np.column_stack([np.ones(8), x - x.mean()])).fit()
    estimate, test = adjusted_difference(a, b, x, x, paired=True)
    assert estimate.value == pytest.approx(fit.params[0]) == pytest.approx((a - b).mean())
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx(tuple(fit.conf_int()[0]))
    assert test.p < seed_permutation(a, b, paired=True).p
    with pytest.raises(DegenerateInput, match="covariates are equal"):
        adjusted_difference(a, b, x, x + 1, paired=True)


@pytest.mark.parametrize("paired", [True, False])
def test_a_covariate_that_explains_nothing_leaves_the_plain_difference(paired):
    a, b = RNG.normal(0.1, 0.1, 6), RNG.normal(0, 0.1, 6)
    flat = np.ones(6)
    estimate, test = adjusted_difference(a, b, flat, flat, paired)
    assert estimate.value == pytest.approx(a.mean() - b.mean())
    assert test.p == pytest.approx(seed_permutation(a, b, paired).p)


def test_clusters_are_the_units_of_interval_and_bootstrap():
    labels = np.repeat(np.arange(30), 4)
    values = np.repeat(RNG.normal(0, 1, 30), 4) + RNG.normal(0, 0.1, 120)
    means = values.reshape(30, 4).mean(axis=1)
    found = cluster_mean_interval(values, labels)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        stats.t.interval(0.95, 29, means.mean(), stats.sem(means))
    )
    boot = bootstrap_clusters(values, labels)
    oracle = stats.bootstrap((means,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    assert (boot.interval.low, boot.interval.high) == pytest.approx((oracle.low, oracle.high), abs=0.06)
    forks = bootstrap_clusters(values, np.arange(120)).interval
    assert forks.high - forks.low < 0.7 * (boot.interval.high - boot.interval.low)
    with pytest.raises(DegenerateInput, match="one cluster"):
        bootstrap_clusters([1.0, 2.0], [0, 0])
