"""Evaluation noise, two states of runs, and contrasts whose arms differ in spread or shape."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.caveats import COLLAPSE_LIMIT, COLLAPSE_TYPE1
from analysis.compare import compare_arms, format_p
from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.run_states import evaluation_noise, noise_sentence, run_states
from analysis.stats.noise import split_noise
from analysis.stats.permutation import seed_permutation
from analysis.stats.two_states import fit_two_states
from analysis.stats.types import DegenerateInput
from analysis.stats.unequal_spread import check_spread, studentized_permutation, welch_p
from analysis.verdict import ContrastVerdict, finding_sentence, verdict_of
from reports.chapters.power_and_calibration import CALIBRATION
from reports.chapters.verdict_and_exact_match import verdict_chapter
from reports.packing.read_study import read_study
from reports.packing.results_folder import RESULTS_FOLDER
from reports.report_data import gather_report_data
from tests.support.synthetic_sweep import made_frames


@pytest.fixture(scope="module")
def first():
    return read_study(RESULTS_FOLDER / "granularity")


@pytest.fixture(scope="module")
def replication():
    return read_study(RESULTS_FOLDER / "granularity_replication")


def test_coin_flips_of_the_committed_questions_give_the_known_noise(first):
    found = evaluation_noise(first.greedy)
    assert found["gspo"].questions == 140
    assert found["gspo"].noise == pytest.approx(0.021, abs=0.0005)
    assert found["gsspo"].noise_at(700) == pytest.approx(0.0095, abs=0.0001)
    assert found["gspo"].noise_explains
    assert found["grpo"].noise_explains
    assert not found["gsspo"].noise_explains
    assert "In grpo, gspo the spread shows nothing beyond" in noise_sentence(found, ["gsspo", "grpo", "gspo"])


def test_noise_and_seed_spread_are_told_apart_in_simulated_runs():
    rng = np.random.default_rng(1)
    question = rng.uniform(0.2, 0.8, 200)
    seed = rng.normal(0, 0.05, 400)
    scores = rng.random((400, 200)) < question + seed[:, None]
    split = split_noise(scores)
    assert split.noise == pytest.approx(np.sqrt((question * (1 - question)).mean() / 200), rel=0.05)
    assert split.seed == pytest.approx(0.05, rel=0.1)
    assert split.seed_interval.low < 0.05 < split.seed_interval.high
    assert split.total**2 == pytest.approx(split.noise**2 + split.seed**2)
    weighted = split_noise(scores, np.r_[np.full(100, 1.5), np.full(100, 0.5)] / 200)
    assert weighted.noise > split.noise
    with pytest.raises(DegenerateInput, match="3 seeds"):
        split_noise(scores[:2])


def test_greedy_em_of_the_committed_runs_has_two_states(replication):
    found = run_states(replication.frames, "eval/em")
    assert found.fit.low == pytest.approx(0.43, abs=0.015)
    assert found.fit.high == pytest.approx(0.60, abs=0.015)
    gsspo, grpo = found.arms
    assert gsspo.upper.value == pytest.approx(16 / 18)
    assert grpo.upper.value == 1.0
    assert (gsspo.never, grpo.never) == (2, 0)
    assert gsspo.left_at.value > grpo.left_at.value
    sentence = found.sentence(["gsspo"])
    assert "gsspo 16 of 18 runs, which left the lower one at step 13.1 [8.5, 17.6]" in sentence
    assert "grpo" not in sentence


@pytest.mark.parametrize("share", [0.1, 0.5, 0.85])
def test_two_separate_states_are_found_with_their_share(share):
    rng = np.random.default_rng(2)
    upper = rng.random(300) < share
    found = fit_two_states(np.where(upper, 0.61, 0.43) + rng.normal(0, 0.025, 300))
    assert (found.low, found.high) == pytest.approx((0.43, 0.61), abs=0.02)
    assert found.share_high == pytest.approx(upper.mean(), abs=0.02)
    assert found.low < found.threshold < found.high


@pytest.mark.parametrize("seed", range(5))
def test_one_state_a_smooth_climb_and_a_single_value_are_no_mixture(seed):
    rng = np.random.default_rng(seed)
    assert fit_two_states(rng.normal(0.5, 0.03, 200)) is None
    assert fit_two_states(np.linspace(0.1, 0.6, 60) + rng.normal(0, 0.03, 60)) is None
    assert fit_two_states(np.r_[np.zeros(60), rng.normal(0.2, 0.05, 60)]) is None
    assert fit_two_states([0.1] * 5 + [0.9] * 5) is None  # too few values to name anything


def test_arms_that_differ_in_level_are_no_mixture_of_runs():
    frames = made_frames(effects={"grpo": 0.0, "gsspo": 0.5}, seeds=range(8), steps=(0, 20), seed_sd=0.02)
    assert run_states(frames, "eval/em") is None


numbers = st.lists(st.integers(-100, 100), min_size=5, max_size=5, unique=True).map(lambda v: np.array(v) / 100)


@given(numbers, numbers)
def test_studentizing_changes_nothing_with_equal_numbers_of_seeds(a, b):
    assert studentized_permutation(a, b).p == pytest.approx(seed_permutation(a, b).p)


def test_the_studentized_test_agrees_with_scipy_on_unequal_arms():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.1, 0.3, 4), rng.normal(0, 0.1, 7)
    oracle = stats.permutation_test(
        (a, b), lambda x, y, axis: stats.ttest_ind(x, y, equal_var=False, axis=axis).statistic, n_resamples=np.inf
    )
    assert studentized_permutation(a, b).p == pytest.approx(oracle.pvalue)


def test_unequal_spread_and_runs_apart_are_noticed():
    rng = np.random.default_rng(5)
    even = [0.60, 0.61, 0.62, 0.59, 0.63, 0.605]
    wide = rng.normal(0.6, 0.1, 6)
    assert check_spread(even, [v + 0.05 for v in even]).welch_p is None
    assert check_spread(wide, even, paired=True).welch_p is None
    found = check_spread(wide, even)
    assert found.welch_p == pytest.approx(stats.ttest_ind(wide, even, equal_var=False).pvalue) == welch_p(wide, even)
    collapsed = check_spread([*even, 0.43, 0.44], even)
    assert (collapsed.apart_a, collapsed.apart_b, collapsed.mixed) == (2, 0, True)
    assert not check_spread(even, even).mixed
    assert check_spread([0.1, 0.9, 0.5], [0.5, 0.5, 0.5]).welch_p is None  # three seeds show neither


def compared(a, b, paired=False):
    contrast = ArmContrast("gsspo", "grpo", "objective.preset", "", True)
    plan = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo", paired=paired)
    (row,) = compare_arms({("em", "gsspo"): pd.Series(a), ("em", "grpo"): pd.Series(b)}, [contrast], plan)
    return row, finding_sentence(row, plan)


def test_a_claim_under_unequal_spread_needs_welch_too():
    wide = [0.62, 0.64, 0.66, 0.69, 0.74, 0.601]
    narrow = [0.600, 0.602, 0.604, 0.598, 0.606, 0.603]
    row, sentence = compared(wide, narrow)
    welch = stats.ttest_ind(wide, narrow, equal_var=False).pvalue
    assert row.test.p < 0.02 < welch == pytest.approx(row.spread.welch_p)
    assert "SDs between seeds differ (5.1 points and 0.3 points)" in sentence
    assert f"Welch's agrees (p {format_p(welch)})" in sentence
    assert verdict_of(row, 0.05) is ContrastVerdict.HIGHER
    assert verdict_of(row, 0.02) is not ContrastVerdict.HIGHER  # the exact p alone would have claimed it
    assert "lie apart" not in sentence
    assert "Welch" not in compared(wide, narrow, paired=True)[1]


def test_welch_is_corrected_over_strata_as_the_exact_test_is():
    wide = [0.611, 0.622, 0.640, 0.607, 0.665, 0.612]
    narrow = [0.600, 0.602, 0.604, 0.598, 0.606, 0.603]
    contrast = ArmContrast("gsspo", "grpo", "objective.preset", "", True)
    plan = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo")
    groups = {(g, arm): pd.Series(v) for g in "abc" for arm, v in (("gsspo", wide), ("grpo", narrow))}
    welch = stats.ttest_ind(wide, narrow, equal_var=False).pvalue
    assert welch <= 0.05 < 3 * welch
    for row in compare_arms(groups, [contrast], plan):
        assert row.p_adjusted == pytest.approx(3 * row.test.p)
        assert row.p_adjusted <= 0.05
        assert row.p_claim == pytest.approx(3 * welch)
        assert verdict_of(row, plan.alpha) is not ContrastVerdict.HIGHER
        sentence = finding_sentence(row, plan)
        assert f"Welch's does not agree (p {format_p(welch)}; {format_p(3 * welch)} corrected with it)" in sentence
    (alone,) = compare_arms({k: v for k, v in groups.items() if k[0] == "a"}, [contrast], plan)
    assert verdict_of(alone, plan.alpha) is ContrastVerdict.HIGHER


def test_a_shown_difference_names_the_runs_that_lie_apart():
    even = [0.60, 0.61, 0.62, 0.59, 0.63, 0.605]
    row, sentence = compared([*[v + 0.06 for v in even], 0.43], [*even, 0.608])
    assert row.spread.mixed
    assert "apart" not in sentence  # no difference is shown
    row, sentence = compared([*[v + 0.06 for v in even], 0.95], [*even, 0.608])
    assert row.test.p <= 0.05
    assert "1 of 7 runs of gsspo lie apart" in sentence
    assert "no evidence on means" in sentence


def test_the_stated_limit_is_the_calibrated_one_and_stands_beside_claims_alone():
    table = pd.read_csv(CALIBRATION)
    collapse = table[(table["role"] == "limit") & table["test"].str.contains("collapse")]
    assert collapse["type1"].astype(float).max() == pytest.approx(COLLAPSE_TYPE1)
    claimed, none = (
        verdict_chapter(gather_report_data(made_frames(e, seeds=range(6)))).text
        for e in (None, {"grpo": 0.2, "gsspo": 0.2})
    )
    assert COLLAPSE_LIMIT in claimed
    assert COLLAPSE_LIMIT not in none
    head = (RESULTS_FOLDER.parent / "findings" / "head.md").read_text()
    assert f"{100 * COLLAPSE_TYPE1:g} %" in head
