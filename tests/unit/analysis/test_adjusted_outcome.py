"""The registered contrast of branched pairs, adjusted for the metric at their common checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from analysis.frames import Frames, arms_of, metrics_frame, trials_frame
from analysis.outcome_power import RegistrableOutcome, own_contrasts, pilot_sentences, power_by_outcome
from analysis.planted_effects import contrast_spread, detection_rate
from analysis.projected_power import project_power
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.stats.power import difference_power
from analysis.stats.student_law import StudentLaw
from analysis.summary import summarise
from harness.config import ConfigError, load_sweep
from harness.config.sweep_file import Analysis
from tests.support.synthetic_sweep import ANALYSIS

PLAN = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo", margin=0.05, paired=True, adjusted=True)
SEEDS = 8


def branched() -> Frames:
    """Pairs that branch at step 10, whose checkpoints differ and set how much gsspo gains."""
    rng = np.random.default_rng(2)
    start = rng.normal(0.4, 0.05, SEEDS)
    gain = 0.02 + 0.8 * (start - start.mean())
    ends = {"grpo": start + rng.normal(0.1, 0.01, SEEDS)}
    ends["gsspo"] = ends["grpo"] + gain + rng.normal(0, 0.003, SEEDS)
    configs = {f"{a}_{s}": {"seed": s, "objective": {"preset": a}} for a in ends for s in range(SEEDS)}
    arms = arms_of(configs, ["objective.preset"])
    trials, metrics = [], []
    for name, config in configs.items():
        arm, seed = name.split("_")[0], config["seed"]
        base = {"trial": name, "arm": arms[name].label, "seed": seed}
        trials.append(base | {"status": "done", "included": True, "reason": "", "steps": 20, "config_hash": arm})
        metrics += [
            base | {"step": s, "metric": "eval/em", "value": v} for s, v in ((10, start[seed]), (20, ends[arm][seed]))
        ]
    branch = {"branch": {"after": 10, "arm": {"objective.preset": "grpo"}}}
    return Frames("branched", branch, trials_frame(trials), metrics_frame(metrics), {a.label: a for a in arms.values()})


def at(frames: Frames, arm: str, step: int) -> np.ndarray:
    rows = frames.values("eval/em", step)
    return rows[rows["arm"] == arm].sort_values("seed")["value"].to_numpy()


def test_the_adjusted_verdict_is_the_intercept_of_differences_on_the_checkpoint():
    frames = branched()
    (row,) = summarise(frames, PLAN).contrasts
    start = at(frames, "grpo", 10)
    design = np.column_stack([np.ones(SEEDS), start - start.mean()])
    fit = OLS(at(frames, "gsspo", 20) - at(frames, "grpo", 20), design).fit()
    assert row.difference.value == pytest.approx(fit.params[0])
    assert (row.difference.interval.low, row.difference.interval.high) == pytest.approx(tuple(fit.conf_int()[0]))
    law = StudentLaw(fit.params[0], fit.bse[0], SEEDS - 2)
    assert row.equivalence.p == pytest.approx(law.equivalence(0.05, 0.05, "").p)
    assert "adjusted difference" in row.test.method


def test_a_checkpoint_that_sets_the_gain_hides_it_from_the_plain_pairs():
    frames = branched()
    (adjusted,), (plain,) = (summarise(frames, p).contrasts for p in (PLAN, replace(PLAN, adjusted=False)))
    assert adjusted.difference.value == pytest.approx(plain.difference.value)
    assert adjusted.test.p < 0.05 < plain.test.p


def residual_sd() -> float:
    frames = branched()
    start = at(frames, "grpo", 10)
    fit = OLS(at(frames, "gsspo", 20) - at(frames, "grpo", 20), np.column_stack([np.ones(SEEDS), start])).fit()
    return float(np.sqrt(fit.mse_resid))


def test_power_by_outcome_counts_what_the_adjustment_gains():
    found = {p.outcome: p for p in power_by_outcome(own_contrasts(branched(), PLAN), PLAN)}
    adjusted, plain = (found[RegistrableOutcome("eval/em", "last", True, a)] for a in (True, False))
    assert adjusted.sd == pytest.approx(residual_sd())
    assert plain.sd > 5 * adjusted.sd
    assert adjusted.needed[-1] < plain.needed[-1]
    assert "adjusted for the checkpoint" in adjusted.outcome.name
    (row,) = summarise(branched(), PLAN).contrasts
    assert adjusted.half_width() == pytest.approx((row.difference.interval.high - row.difference.interval.low) / 2)


def test_a_dry_run_recommends_the_adjustment_where_its_pilots_branch():
    plain = replace(PLAN, adjusted=False)
    pilots = own_contrasts(branched(), plain)
    warning = pilot_sentences(power_by_outcome(pilots, plain), plain, 8, "a pilot")[1]
    assert "paired: true, adjusted: true)" in warning
    whole = replace(branched(), config={})
    unbranched = [replace(p, frames=whole) for p in pilots]
    assert not any(p.outcome.adjusted for p in power_by_outcome(unbranched, plain))
    (bound,) = [p for p in power_by_outcome(unbranched, PLAN) if p.outcome.adjusted and p.outcome.over == "last"]
    differences = at(branched(), "gsspo", 20) - at(branched(), "grpo", 20)
    assert bound.sd == pytest.approx(differences.std(ddof=1))


def test_projected_power_and_the_assay_take_the_adjusted_spread():
    frames = branched()
    assert contrast_spread(frames, PLAN) == pytest.approx(residual_sd())
    projected = project_power(frames, PLAN)
    assert projected.sd * np.sqrt(2) == pytest.approx(residual_sd())
    for seeds, tolerance in ((8, 0.08), (14, 0.05)):
        sd = 0.02
        rate = detection_rate(0.02, sd, seeds, PLAN, draws=300)
        assert rate == pytest.approx(difference_power(0.02, sd, seeds, True, covariates=1), abs=tolerance)
        assert rate < detection_rate(0.02, sd, seeds, replace(PLAN, adjusted=False)) + 0.03
    assert difference_power(0.02, 0.02, 8, True, covariates=1) < difference_power(0.02, 0.02, 8, True)


def test_the_adjustment_is_part_of_the_registered_plan_and_absent_from_older_ones():
    assert "adjusted" not in Analysis.model_validate(ANALYSIS).model_dump(mode="json")
    declared = Analysis.model_validate({**ANALYSIS, "paired": True, "adjusted": True}).model_dump(mode="json")
    assert read_analysis_plan(declared).adjusted
    assert "adjusted for the metric at their common checkpoint" in read_analysis_plan(declared).test_name


SWEEP = """
name: branched
hypothesis: h
profile: tiny
parameters:
  objective.preset: {values: [gsspo, grpo]}
  rollout.stream: {values: [0, 1]}
seeds: 4
analysis:
  primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}
  margin: 0.03
  alpha: 0.05
  adjusted: true
"""
BRANCH = "branch: {after: 1, arm: {objective.preset: grpo, rollout.stream: 0}}\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  paired: true\n", "no common checkpoint to adjust for"),
        (BRANCH, "runs of a seed share their checkpoint: they are pairs"),
        ("  paired: true\n  random: [rollout.stream]\n" + BRANCH, "not for the levels of random factors"),
    ],
)
def test_an_adjustment_without_pairs_from_one_checkpoint_is_located(tmp_path: Path, more, message):
    file = tmp_path / "branched.yaml"
    file.write_text(SWEEP + more)
    with pytest.raises(ConfigError) as caught:
        load_sweep(file)
    (found,) = [line for line in str(caught.value).splitlines() if message in line]
    assert ":13:" in found
