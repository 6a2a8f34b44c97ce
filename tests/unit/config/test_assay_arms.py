"""Arms of an assay: the baseline with a handicap, and with other random streams, beside the grid's cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import ConfigError, SweepSpec, expand, load_sweep

SWEEP = """\
name: planted
hypothesis: the design sees an effect of five points
profile: tiny
parameters:
  objective.preset: {values: [gsspo, grpo]}
  rollout.group_size: {values: [4, 8]}
seeds: [3, 5, 8]
analysis:
  primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}
  margin: 0.03
  alpha: 0.05
  assay: {effect: -0.05, handicap: {objective.credit_shuffle: 0.5}, seeds: 2}
small: {seeds: 1, steps: 2}
"""


def load(tmp_path: Path, *overrides: str, text: str = SWEEP, small: bool = False) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path, overrides, small=small)


def problems(tmp_path: Path, *overrides: str, text: str = SWEEP) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, *overrides, text=text)
    return caught.value.render()


def test_planted_arms_are_the_baseline_but_for_the_handicap_or_the_stream(tmp_path):
    cells = load(tmp_path).cells
    by_arm = {(axes["objective.preset"], axes["rollout.group_size"], c.seed): c for axes, c in cells}
    assert len(by_arm) == 12 + 4
    for seed in (3, 5):
        baseline = by_arm["grpo", 4, seed]
        handicap, placebo = by_arm["handicap", 4, seed], by_arm["placebo", 4, seed]
        hampered = baseline.objective.model_copy(update={"credit_shuffle": 0.5})
        assert handicap == baseline.model_copy(update={"objective": hampered})
        other = baseline.rollout.model_copy(update={"stream": 1})
        assert placebo == baseline.model_copy(update={"rollout": other})
    assert not any(arm == "handicap" and seed == 8 for arm, _, seed in by_arm)


def test_planted_trials_run_beside_the_others_of_their_seed(tmp_path):
    spec = load(tmp_path)
    assert [c.seed for _, c in spec.cells] == [3] * 6 + [5] * 6 + [8] * 4
    names = [t.name for t in expand(spec, "code") if t.seed == 3]
    assert names[-2:] == ["handicap_group_size-4_seed3", "placebo_group_size-4_seed3"]
    assert [c.seed for _, c in load(tmp_path, small=True).cells] == [0] * 6


def test_the_assay_is_part_of_the_registered_plan_and_its_absence_is_not(tmp_path):
    with_assay = load(tmp_path)
    stronger = load(tmp_path, "analysis.assay.effect=-0.06")
    without = load(tmp_path, text=SWEEP.replace("  assay:", "  # assay:"))
    assert len({s.preregistration for s in (with_assay, stronger, without)}) == 3
    assert "assay" not in without.resolved()["analysis"]


def test_a_simulated_assay_adds_no_trial(tmp_path):
    spec = load(tmp_path, text=SWEEP.replace("handicap: {objective.credit_shuffle: 0.5}, seeds: 2", "at_least: 0.9"))
    assert len(spec.cells) == 12


def test_a_narrowed_baseline_takes_its_planted_arms_with_it(tmp_path):
    assert len(load(tmp_path, "objective.preset=gsspo").cells) == 6


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("credit_shuffle: 0.5", "credit_shufle: 0.5", "12:37: unknown key 'objective.credit_shufle'"),
        ("credit_shuffle: 0.5", "credit_shuffle: 1.5", "must be at most 1"),
        ("effect: -0.05", "effect: 0", "must not be 0"),
        ("handicap: {objective.credit_shuffle: 0.5}", "handicap: {}", "handicap"),
        ("{objective.credit_shuffle: 0.5}", "{objective.credit_shuffle: 0.0}", "two cells are the same trial"),
        ("values: [gsspo, grpo]", "values: {gsspo: gsspo, grpo: grpo, placebo: gspo}", "a value of that name"),
    ],
)
def test_an_assay_that_cannot_be_run_is_a_located_problem(tmp_path, old, new, message):
    assert message in problems(tmp_path, text=SWEEP.replace(old, new))


def test_an_override_that_hides_the_handicap_is_a_problem(tmp_path):
    assert "two cells are the same trial" in problems(tmp_path, "objective.credit_shuffle=0.2")
