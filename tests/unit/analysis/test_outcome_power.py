"""Power and precision by outcome: the committed pilots' table, the laws behind it, and the dry run's sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.outcome_power import (
    EFFECTS,
    PilotContrast,
    RegistrableOutcome,
    more_sensitive,
    outcome_power,
    own_contrasts,
    pilot_sentences,
    power_by_outcome,
)
from analysis.projected_power import outcome_sd, project_power
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.stats.power import detectable_difference, difference_power, seeds_for_difference
from harness.config import load_sweep
from harness.sweep.design_preview import outcome_sentences
from reports.packing.pilots import pilot_contrasts
from tests.support.synthetic_sweep import ANALYSIS, made_frames

PLAN = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo", margin=0.03)


@pytest.fixture(scope="module")
def committed():
    return pilot_contrasts(PLAN, "tiny", {})


@pytest.mark.parametrize(
    ("outcome", "seeds"),
    [
        (RegistrableOutcome("eval/em"), (634, 228, 90)),
        (RegistrableOutcome("eval/em", "area", True), (292, 105, 41)),
        (RegistrableOutcome("eval_sampled/em", "area", True), (54, 20, 8)),
    ],
)
def test_the_committed_seed_pairs_give_the_published_power_table(committed, outcome, seeds):
    pilots, source = committed
    assert source == "granularity, granularity_replication (28 seed pairs)"
    assert EFFECTS == (0.006, 0.010, 0.016)
    found = outcome_power(pilots, outcome)
    assert found.seeds == 28
    assert found.by_normal_law == seeds
    assert all(t >= n for t, n in zip(found.needed, seeds, strict=True))


@pytest.mark.parametrize("paired", [True, False])
def test_power_of_a_difference_agrees_with_simulated_t_tests(paired):
    rng = np.random.default_rng(0)
    seeds, sd, effect = 9, 0.03, 0.035
    a = rng.normal(effect, sd / (1 if paired else np.sqrt(2)), (20_000, seeds))
    b = np.zeros_like(a) if paired else rng.normal(0, sd / np.sqrt(2), a.shape)
    p = (stats.ttest_1samp(a, 0, axis=1) if paired else stats.ttest_ind(a, b, axis=1)).pvalue
    assert difference_power(effect, sd, seeds, paired) == pytest.approx((p <= 0.05).mean(), abs=0.012)


@pytest.mark.parametrize("paired", [True, False])
def test_the_seeds_needed_are_the_least_that_have_the_power(paired):
    for effect in (0.01, 0.02, 0.2):
        n = seeds_for_difference(effect, 0.03, paired)
        assert difference_power(effect, 0.03, n, paired) >= 0.8
        assert difference_power(effect, 0.03, n - 1, paired) < 0.8
        assert detectable_difference(0.03, n, paired) <= effect
    assert seeds_for_difference(1.0, 0.001, True) == 6  # no fewer pairs can be significant, however large the effect
    assert detectable_difference(0.03, 5, True) is None


def test_the_dry_run_names_the_registered_outcome_and_warns_of_a_more_sensitive_one(committed):
    pilots, source = committed
    found = power_by_outcome(pilots, PLAN)
    first, warning = pilot_sentences(found, PLAN, 10, source)
    assert source in first
    assert "EM, last step, unpaired" in first
    assert "635 / 229 / 91 seeds" in first
    assert warning.startswith("warning: ")
    assert "over: area}, paired: true)" in warning
    sensitive = more_sensitive(found, PLAN).outcome
    best = read_analysis_plan(
        {**ANALYSIS, "primary": {**ANALYSIS["primary"], "metric": sensitive.metric, "over": "area"}, "paired": True}
    )
    assert len(pilot_sentences(power_by_outcome(pilots, best), best, 10, source)) == 1


def test_a_dry_run_plans_with_the_committed_pilots_of_its_contrast():
    spec = load_sweep(Path(__file__).parents[3] / "ablations" / "granularity.yaml")
    sentences = outcome_sentences(spec, read_analysis_plan(spec.file.analysis.model_dump(mode="json")))
    assert sentences[0].startswith("power by outcome, from granularity, granularity_replication (28 seed pairs)")
    assert sentences[1].startswith("warning: a more sensitive outcome is logged")


def test_outcomes_that_the_sweep_does_not_log_are_not_recommended(committed):
    found = power_by_outcome(committed[0], PLAN, logged={"eval/em"})
    assert {p.outcome.metric for p in found} == {"eval/em"}
    assert "eval/em, over: area" in pilot_sentences(found, PLAN, 10, "pilots")[1]


def test_small_pilots_and_seeds_without_a_pair_give_no_spread():
    few = made_frames(seeds=range(4))
    assert outcome_power([PilotContrast(few, "gsspo", "grpo")], RegistrableOutcome("eval/em")) is None
    holes = made_frames(seeds=range(7), unfinished=["grpo_seed0", "gsspo_seed6"])
    pilot = PilotContrast(holes, "gsspo", "grpo")
    assert outcome_power([pilot], RegistrableOutcome("eval/em")).seeds == 6
    assert outcome_power([pilot], RegistrableOutcome("eval/em", paired=True)).seeds == 5


def test_attained_precision_is_that_of_the_t_interval():
    frames = made_frames(seeds=range(8))
    plan = read_analysis_plan({**ANALYSIS, "paired": True})
    found = power_by_outcome(own_contrasts(frames, plan), plan)[0]
    last = frames.values("eval/em", 20).pivot_table(index="seed", columns="arm", values="value")
    d = last["gsspo"] - last["grpo"]
    low, high = stats.t.interval(0.95, 7, d.mean(), stats.sem(d))
    assert found.half_width() == pytest.approx((high - low) / 2)


def test_power_of_a_next_study_is_that_of_the_registered_outcome():
    frames = made_frames(seeds=range(8))
    primary = {**ANALYSIS["primary"], "over": "area"}
    plan = read_analysis_plan({**ANALYSIS, "primary": primary, "paired": True})
    (power,) = [p for p in power_by_outcome(own_contrasts(frames, plan), plan) if p.outcome.over == "area"]
    assert outcome_sd(frames, plan, "eval/em")[0] * np.sqrt(2) == pytest.approx(power.sd)
    table = project_power(frames, plan).table.set_index("seeds")
    assert table.at[8, "detectable"] == pytest.approx(power.detectable(8))
    assert table.at[5, "detectable"] == ""
