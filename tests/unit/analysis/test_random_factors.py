"""Random factors of a plan: levels in the place of seeds, nested and crossed, and as part of the registered plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.assay_plan import AssayPlan
from analysis.frames import Frames, arms_of, metrics_frame, trials_frame
from analysis.outcome_power import own_contrasts
from analysis.planted_effects import contrast_spread, run_assay
from analysis.preregistration import check_registration
from analysis.projected_power import project_power
from analysis.random_factors import at_random_levels
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.stats.crossed_levels import crossed_contrast, crossed_law
from analysis.stats.permutation import seed_permutation
from analysis.stats.random_levels import Assignment
from analysis.stats.types import DegenerateInput
from analysis.summary import summarise
from analysis.verdict import primary_sentence
from harness.config import ConfigError, load_sweep
from harness.config.sweep_file import Analysis
from tests.support.synthetic_sweep import ANALYSIS

PLAN = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo", random=("policy.path",))


def study(levels: dict[str, list[str]], runs: int = 4, level_sd: float = 0.05) -> Frames:
    """Arms by preset, each started from its `levels` of policy.path, `runs` seeds a start; gsspo is .02 better."""
    rng = np.random.default_rng(1)
    own = {path: rng.normal(0, level_sd) for path in dict.fromkeys(p for paths in levels.values() for p in paths)}
    configs = {
        f"{preset}_{path}_{seed}": {"seed": seed, "objective": {"preset": preset}, "policy": {"path": path}}
        for preset, paths in levels.items()
        for path in paths
        for seed in range(runs)
    }
    arms = arms_of(configs, ["objective.preset", "policy.path"])
    trials, metrics = [], []
    for name, config in configs.items():
        base = {"trial": name, "arm": arms[name].label, "seed": config["seed"]}
        trials.append(base | {"status": "done", "included": True, "reason": "", "steps": 1, "config_hash": name[:-2]})
        better = 0.02 * (config["objective"]["preset"] == "gsspo")
        value = 0.5 + better + own[config["policy"]["path"]] + rng.normal(0, 0.01)
        metrics += [base | {"step": s, "metric": "eval/em", "value": value if s else 0.3} for s in (0, 1)]
    return Frames("starts", {}, trials_frame(trials), metrics_frame(metrics), {a.label: a for a in arms.values()})


def level_means(frames: Frames, preset: str) -> np.ndarray:
    rows = frames.values("eval/em", 1)
    named = rows["trial"].str.split("_", expand=True)
    return rows[named[0] == preset].groupby(named[1], sort=False)["value"].mean().to_numpy()


def test_a_contrast_over_nested_starts_permutes_the_starts():
    frames = study({"gsspo": list("abcd"), "grpo": list("wxyz")})
    (row,) = summarise(frames, PLAN).contrasts
    x, y = level_means(frames, "gsspo"), level_means(frames, "grpo")
    assert row.n_seeds == (4, 4)
    assert row.contrast.confirmatory
    assert row.difference.value == pytest.approx(x.mean() - y.mean())
    assert row.test.p == pytest.approx(seed_permutation(x, y).p)
    assert row.test.smallest_p == pytest.approx(2 / 70)


def test_a_contrast_over_shared_starts_flips_their_own_differences():
    frames = study({"gsspo": list("abcdefg"), "grpo": list("gfedcba")})
    summary = summarise(frames, PLAN)
    (row,) = summary.contrasts
    rows = dict(zip("abcdefg", level_means(frames, "gsspo"), strict=True))
    others = dict(zip("gfedcba", level_means(frames, "grpo"), strict=True))
    d = np.array([rows[k] - others[k] for k in "abcdefg"])
    assert row.difference.value == pytest.approx(d.mean())
    assert row.test.p == pytest.approx(seed_permutation(d, np.zeros(7), paired=True).p)
    assert "paired" in row.test.method
    assert row.test.p < 0.05
    assert "7 v 7 levels of policy.path" in primary_sentence(summary)


def test_levels_that_are_neither_nested_nor_crossed_are_refused():
    with pytest.raises(DegenerateInput, match="one arm alone beside levels with both"):
        at_random_levels(study({"gsspo": list("abc"), "grpo": list("bcd")}), PLAN)
    with pytest.raises(DegenerateInput, match="is not swept"):
        at_random_levels(study({"gsspo": ["a"], "grpo": ["b"]}), AnalysisPlan(random=("operators.pool",)))


def test_a_plan_without_random_factors_keeps_its_seeds_and_its_text():
    frames = study({"gsspo": ["a"], "grpo": ["a"]})
    plan = AnalysisPlan("eval/em", "objective.preset", "gsspo", "grpo")
    assert at_random_levels(frames, plan) == (frames, plan)
    assert Analysis.model_validate(ANALYSIS).model_dump(mode="json") == {**ANALYSIS, "threshold": None}
    declared = {**ANALYSIS, "random": ["policy.path"]}
    assert Analysis.model_validate(declared).model_dump(mode="json")["random"] == ["policy.path"]
    assert read_analysis_plan(declared).random == ("policy.path",)


def test_registration_and_precision_are_at_the_level_of_the_starts():
    frames = study({"gsspo": list("abcd"), "grpo": list("wxyz")})
    config = {"analysis": {**ANALYSIS, "random": ["policy.path"]}}
    made = Frames(frames.name, config, frames.trials, frames.metrics, frames.arms)
    assert "random factors: policy.path" in check_registration(made).sentences[0]
    (contrast,) = own_contrasts(frames, PLAN)
    assert set(contrast.frames.trials["seed"]) == set(range(8))


CROSSED = replace(PLAN, random=("policy.path", "seed"))


def grid(frames: Frames, preset: str) -> np.ndarray:
    """Values of an arm as [start, seed]."""
    rows = frames.values("eval/em", 1)
    named = rows["trial"].str.split("_", expand=True)
    rows = rows.assign(start=named[1])[named[0] == preset]
    return rows.pivot(index="start", columns="seed", values="value").to_numpy()


@pytest.mark.parametrize(
    ("levels", "rows"),
    [
        ({"gsspo": list("abcd"), "grpo": list("abcd")}, Assignment.CROSSED),
        ({"gsspo": list("abcd"), "grpo": list("wxyz")}, Assignment.NESTED),
    ],
)
def test_a_contrast_over_starts_crossed_with_seeds_has_the_variance_of_both(levels, rows):
    frames = study(levels)
    summary = summarise(frames, CROSSED)
    (row,) = summary.contrasts
    estimate, test = crossed_contrast(grid(frames, "gsspo"), grid(frames, "grpo"), rows, Assignment.CROSSED)
    assert row.n_seeds == (16, 16)
    assert row.difference.value == pytest.approx(estimate.value)
    assert row.difference.interval.high == pytest.approx(estimate.interval.high)
    assert row.test.p == row.p_adjusted == pytest.approx(test.p)
    assert "16 v 16 cells of policy.path × seed" in primary_sentence(summary)
    assert summarise(frames, replace(CROSSED, random=("seed", "policy.path"))).contrasts[0].test.p == pytest.approx(
        test.p
    )


def test_equivalence_over_two_factors_rests_on_the_same_error():
    frames = study({"gsspo": list("abcd"), "grpo": list("abcd")})
    (row,) = summarise(frames, replace(CROSSED, margin=0.1)).contrasts
    law = crossed_law(grid(frames, "gsspo"), grid(frames, "grpo"), Assignment.CROSSED, Assignment.CROSSED)
    assert row.equivalence.p == pytest.approx(stats.t.sf((0.1 - abs(law.value)) / law.error, law.df))


def test_a_failed_run_takes_its_level_out_of_both_arms():
    frames = study({"gsspo": list("abcd"), "grpo": list("abcd")})
    lost = frames.trials["trial"] == "gsspo_b_0"
    trials = frames.trials.assign(included=frames.trials["included"] & ~lost)
    part = replace(frames, trials=trials, metrics=frames.metrics[frames.metrics["trial"] != "gsspo_b_0"])
    (row,) = summarise(part, CROSSED).contrasts
    rest = [grid(frames, preset)[[0, 2, 3]] for preset in ("gsspo", "grpo")]
    assert row.n_seeds == (12, 12)
    assert row.difference.value == pytest.approx(rest[0].mean() - rest[1].mean())


def test_two_crossed_factors_have_no_power_by_number_of_seeds():
    frames = study({"gsspo": list("abcd"), "grpo": list("abcd")})
    assert own_contrasts(frames, CROSSED) == []
    with pytest.raises(DegenerateInput, match="two crossed random factors"):
        project_power(frames, CROSSED)


def test_the_assay_counts_levels_and_not_the_runs_below_them():
    frames = study({"gsspo": list("abcdef"), "grpo": list("abcdef")})
    found = run_assay(frames, replace(PLAN, assay=AssayPlan(0.02)))
    assert found.seeds == 6
    one_a_level = at_random_levels(frames, PLAN)
    assert found.sd == pytest.approx(contrast_spread(*one_a_level))


SWEEP = """
name: starts
hypothesis: h
profile: tiny
parameters:
  objective.preset: {values: [gsspo, grpo]}
  policy.warm_start_tokens: {values: [128, 160]}
  policy.warm_start_episodes: {values: [8, 16]}
seeds: 2
analysis:
  primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}
  margin: 0.03
  alpha: 0.05
  random: RANDOM
"""


@pytest.mark.parametrize(
    ("random", "column", "message"),
    [
        ("[policy.warm_start_token]", 12, "the random factor 'policy.warm_start_token' is not swept"),
        ("[objective.preset]", 12, "objective.preset is the contrast's axis"),
        ("[seed]", 12, "seeds are the units of a plan without random factors"),
        (
            "[policy.warm_start_tokens, policy.warm_start_episodes, seed]",
            66,
            "seed is crossed with policy.warm_start_tokens, as policy.warm_start_episodes is",
        ),
    ],
)
def test_random_factors_that_do_not_fit_the_grid_are_located(tmp_path: Path, random, column, message):
    file = tmp_path / "starts.yaml"
    file.write_text(SWEEP.replace("RANDOM", random))
    with pytest.raises(ConfigError) as caught:
        load_sweep(file)
    found = [line for line in str(caught.value).splitlines() if message in line]
    assert len(found) == 1
    assert f":{column}:" in found[0]


@pytest.mark.parametrize(
    ("excluded", "random", "message"),
    [
        ("[{objective.preset: gsspo, policy.warm_start_tokens: 128}]", "[policy.warm_start_tokens]", "are shared by"),
        (
            "[{policy.warm_start_tokens: 128, policy.warm_start_episodes: 8}]",
            "[policy.warm_start_tokens, policy.warm_start_episodes]",
            "an arm runs 3 of their 4 cells",
        ),
        (
            "[{objective.preset: gsspo, policy.warm_start_tokens: 128},"
            " {objective.preset: grpo, policy.warm_start_tokens: 160}]",
            "[policy.warm_start_tokens, policy.warm_start_episodes]",
            "policy.warm_start_tokens has one level in an arm",
        ),
    ],
)
def test_levels_that_allow_no_test_are_refused_when_the_file_is_read(tmp_path: Path, excluded, random, message):
    file = tmp_path / "starts.yaml"
    file.write_text(SWEEP.replace("RANDOM", random) + f"exclude: {excluded}\n")
    with pytest.raises(ConfigError, match=message):
        load_sweep(file)


def test_two_crossed_factors_are_part_of_the_registered_plan(tmp_path: Path):
    file = tmp_path / "starts.yaml"
    hashes = set()
    for random in ("[policy.warm_start_tokens, seed]", "[policy.warm_start_tokens, policy.warm_start_episodes]"):
        file.write_text(SWEEP.replace("RANDOM", random))
        hashes.add(load_sweep(file).preregistration)
    assert len(hashes) == 2
    file.write_text(SWEEP.replace("RANDOM", "[policy.warm_start_tokens, seed]\n  assay: {effect: -0.1}"))
    with pytest.raises(ConfigError, match="no detection rate is known for two crossed random factors"):
        load_sweep(file)
