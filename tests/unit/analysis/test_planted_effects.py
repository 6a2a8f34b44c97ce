"""The assay of a design: planted effects are detected at the rate of its own test, placebos at α."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analysis.check_result import failed
from analysis.design_evidence import check_design
from analysis.frames import Frames
from analysis.planted_effects import contrast_spread, detection_rate, run_assay, without_planted
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.stats.permutation import seed_permutation
from analysis.stats.types import DegenerateInput
from analysis.summary import summarise
from analysis.verdict import primary_sentence
from harness.config import load_sweep
from reports.chapters.verdict_and_exact_match import verdict_chapter
from reports.findings.page import ABLATIONS
from reports.packing.pilots import pilot_contrasts
from reports.report_data import gather_report_data
from tests.support.synthetic_sweep import ANALYSIS, made_frames

ASSAY = {"effect": -0.05, "handicap": {"objective.credit_shuffle": 0.5}}
PLAN = AnalysisPlan(axis="objective.preset", treatment="gsspo", baseline="grpo")
PAIRED = replace(PLAN, paired=True)


def planted_sweep(handicap: float = -0.10, placebo: float = 0.0, seeds: int = 8, **assay: object) -> Frames:
    """The made-up sweep with a handicap and a placebo of these effects on its baseline, whose EM rises by .10."""
    section = {**ANALYSIS, "assay": {**ASSAY, **assay}}
    effects = {"grpo": 0.10, "gsspo": 0.20, "handicap": 0.10 + handicap, "placebo": 0.10 + placebo}
    frames = made_frames(effects, seeds=range(seeds), analysis=section)
    return replace(frames, config={**frames.config, "seeds": list(range(seeds))})


@pytest.mark.parametrize("plan", [PLAN, PAIRED], ids=["unpaired", "paired"])
@pytest.mark.parametrize(("effect", "seeds"), [(0.03, 6), (0.02, 14)])
def test_the_detection_rate_is_the_share_of_significant_results_of_the_design_s_test(plan, effect, seeds):
    rng, draws = np.random.default_rng(1), 150
    found = 0
    for _ in range(draws):
        a, b = rng.normal(0, 0.02, (2, seeds))
        if plan.paired:
            b = np.zeros(seeds)  # the spread is that of differences
        elif seeds > 6:  # a permutation test of 14 v 14 draws 99,999 rearrangements: the t test in its place
            from scipy.stats import ttest_ind

            found += ttest_ind(a + effect, b).pvalue <= 0.05
            continue
        found += seed_permutation(a + effect, b, plan.paired).rejects(0.05)
    assert detection_rate(-effect, 0.02, seeds, plan) == pytest.approx(found / draws, abs=0.12)


@pytest.mark.parametrize("seeds", [8, 20])
def test_a_placebo_is_detected_at_alpha_and_larger_effects_more_often(seeds):
    rates = [detection_rate(effect, 0.02, seeds, PAIRED) for effect in (0.0, -0.01, -0.02, -0.05)]
    assert rates[0] == pytest.approx(0.05, abs=0.02)
    assert rates == sorted(rates)
    assert rates[-1] > 0.95


def test_a_design_that_cannot_reach_alpha_detects_nothing():
    assert detection_rate(1.0, 0.01, 3, PLAN) == 0.0
    assert detection_rate(1.0, 0.01, 4, PAIRED) == 0.0
    with pytest.raises(DegenerateInput, match="positive"):
        detection_rate(0.1, 0.0, 6, PLAN)


def test_the_spread_is_that_of_the_contrasted_arms_or_of_their_pairs():
    frames = planted_sweep()
    last = frames.values("eval/em", 20).pivot(index="seed", columns="arm", values="value")
    pooled = np.sqrt((last["gsspo"].var() + last["grpo"].var()) / 2)
    assert contrast_spread(frames, PLAN) == pytest.approx(pooled)
    assert contrast_spread(frames, PAIRED) == pytest.approx((last["gsspo"] - last["grpo"]).std())


def test_a_planted_effect_is_found_a_placebo_is_not_and_the_verdict_stands():
    data = gather_report_data(planted_sweep())
    assert [c.holds for c in data.summary.checks] == [True, True, True]
    assert primary_sentence(data.summary).startswith("EM of gsspo is higher")
    table = next(t for t in verdict_chapter(data).tables if t.name == "assay").frame
    assert list(table["planted"])[:2] == ["handicap, simulated", "placebo, simulated"]
    assert list(table["detected"])[2:] == ["yes", "no"]
    assert float(table["detected"][0].rstrip("%")) > 80
    assert float(table["detected"][1].rstrip("%")) < 8


@pytest.mark.parametrize(
    ("sweep", "failing"),
    [
        ({"handicap": 0.0}, "handicap (objective.credit_shuffle=0.5) shown to be lower"),
        ({"handicap": 0.10}, "handicap (objective.credit_shuffle=0.5) shown to be lower"),
        ({"placebo": -0.08}, "placebo not shown to differ"),
        ({"effect": -0.005}, "an effect of -0.5 points on EM detected in at least 80% of studies of 8 v 8 seeds"),
    ],
    ids=["handicap missed", "handicap on the wrong side", "placebo found", "effect too small"],
)
def test_an_assay_that_fails_takes_the_verdict(sweep, failing):
    frames = planted_sweep(**sweep)
    checks = check_design(frames, read_analysis_plan(frames.config["analysis"]))
    (found,) = failed(checks)
    assert failing in found.required
    summary = summarise(frames, checks=checks)
    assert primary_sentence(summary).startswith("The design could not tell")


def test_planted_arms_that_did_not_run_were_not_measured():
    frames = made_frames(seeds=range(8), analysis={**ANALYSIS, "assay": ASSAY})
    checks = run_assay(frames, read_analysis_plan(frames.config["analysis"])).checks
    assert [c.observed is None for c in checks] == [False, True, True]
    assert [c.holds for c in checks] == [True, False, False]


def test_a_simulated_assay_requires_the_detection_rate_alone():
    frames = made_frames(seeds=range(8), analysis={**ANALYSIS, "assay": {"effect": -0.05, "at_least": 0.9}})
    assay = run_assay(frames, read_analysis_plan(frames.config["analysis"]))
    assert [c.holds for c in assay.checks] == [True]
    assert len(assay.table()) == 2


def test_the_checks_of_the_study_leave_planted_arms_out():
    """A handicap that learns nothing must not fail a level that every arm of the study has to reach."""
    level = {"kind": "level", "metric": "eval/em", "at_least": 0.25}
    frames = planted_sweep()
    section = {**frames.config["analysis"], "requires": [level]}
    checks = check_design(frames, read_analysis_plan(section))
    assert checks[0].holds
    assert frames.values("eval/em", 20).query("arm == 'handicap'")["value"].mean() < 0.25
    left = without_planted(frames, read_analysis_plan(section))
    assert list(left.arms) == ["grpo", "gsspo"]
    assert set(left.metrics["arm"]) == set(left.trials["arm"]) == {"grpo", "gsspo"}


def test_the_assay_is_of_the_registered_outcome():
    """The area under the curve, paired: an effect at the last step alone, on differences of pairs."""
    section = {**ANALYSIS, "assay": ASSAY, "paired": True, "primary": {**ANALYSIS["primary"], "over": "area"}}
    frames = replace(planted_sweep(), config={"analysis": section, "seeds": list(range(8))})
    assay = run_assay(frames, read_analysis_plan(section))
    curves = frames.values("eval/em").pivot_table(index=["arm", "seed"], columns="step", values="value")
    area = (curves[0] / 2 + curves[5] + curves[10] + curves[15] + curves[20] / 2) / 4
    assert assay.handicap.difference.value == pytest.approx((area["handicap"] - area["grpo"]).mean())
    assert "paired" in assay.handicap.test.method
    assert "8 pairs" in assay.checks[0].required


def test_a_sweep_without_an_assay_has_none():
    assert run_assay(made_frames(), read_analysis_plan(ANALYSIS)) is None
    assert not any(t.name == "assay" for t in verdict_chapter(gather_report_data(made_frames())).tables)


def test_the_study_of_sampled_answers_detects_its_planted_effect_at_the_spread_of_the_committed_pairs():
    spec = load_sweep(ABLATIONS / "granularity_sampled.yaml")
    plan = read_analysis_plan(spec.file.analysis.model_dump(mode="json"))
    pilots, _ = pilot_contrasts(plan, "tiny", {})
    assert len(pilots) == 2
    seeds = len(spec.file.seeds)
    rates = [detection_rate(plan.assay.effect, contrast_spread(p.frames, plan), seeds, plan) for p in pilots]
    assert min(rates) >= plan.assay.at_least
    assert detection_rate(0.0, contrast_spread(pilots[0].frames, plan), seeds, plan) == pytest.approx(plan.alpha)
