"""Arms that branch from a trunk: one trunk a seed, part of every arm's identity and of the registered plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import ConfigError, SweepSpec, expand, load_sweep

SWEEP = """\
name: branched
hypothesis: the objectives part after common steps
profile: tiny
fixed: {steps: 12, eval_every: 5, checkpoint_every: 4}
parameters:
  objective.preset: {values: [gsspo, grpo]}
  rollout.group_size: {values: [4, 8]}
branch: {after: 6, arm: {objective.preset: grpo, rollout.group_size: 8}}
seeds: [3, 5]
analysis: {primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}, margin: 0.03, alpha: 0.05}
"""


def load(tmp_path: Path, *overrides: str, text: str = SWEEP) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path, overrides)


def test_a_trunk_a_seed_runs_first_and_every_arm_of_the_seed_names_its_folder(tmp_path):
    trials = expand(load(tmp_path), "code")
    assert [t.name for t in trials[:2]] == ["trunk_seed3", "trunk_seed5"]
    assert len(trials) == 2 + 8
    for trial in trials[2:]:
        (trunk,) = [t for t in trials[:2] if t.seed == trial.seed]
        assert trial.trunk == trunk.directory
        assert trial.config.branch.after == 6
    arm = next(t for t in trials if t.name.startswith("grpo_group_size-8") and t.seed == 3)
    changed = {"steps": 6, "keep_state": True, "branch": None, "save": trials[0].config.save}
    assert trials[0].config == arm.config.model_copy(update=changed)


def test_steps_count_from_the_branch_point(tmp_path):
    trunk, *_, arm = expand(load(tmp_path), "code")
    assert (trunk.config.trained_steps, arm.config.trained_steps) == (6, 6)
    assert [s for s in range(7) if trunk.config.evaluates_at(s)] == [0, 5, 6]
    assert [s for s in range(6, 13) if arm.config.evaluates_at(s)] == [6, 10, 12]
    assert [s for s in range(7) if trunk.config.checkpoints_at(s)] == [4, 6]
    assert [s for s in range(6, 13) if arm.config.checkpoints_at(s)] == [8]


def test_the_trunk_is_part_of_the_arms_identity_and_the_branch_of_the_plan(tmp_path):
    base = load(tmp_path)
    later = load(tmp_path, "branch.after=7")
    other = load(tmp_path, text=SWEEP.replace("arm: {objective.preset: grpo", "arm: {objective.preset: gsspo"))
    none = load(tmp_path, text=SWEEP.replace("branch:", "# branch:"))
    specs = (base, later, other, none)
    assert len({s.preregistration for s in specs}) == 4
    assert len({expand(s, "code")[-1].key for s in specs}) == 4
    assert len({c.branch.trunk for _, c in base.cells}) == 1
    assert "branch" not in none.resolved()
    assert not none.trunks


def test_planted_arms_branch_too(tmp_path):
    text = SWEEP.replace("alpha: 0.05}", "alpha: 0.05, assay: {effect: -0.1, handicap: {update.learning_rate: 1e-5}}}")
    spec = load(tmp_path, text=text)
    assert len(spec.cells) == 8 + 4
    assert len(spec.trunks) == 2
    assert all(c.branch is not None for _, c in spec.cells)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("after: 6", "after: 12", "8:17: branch.after 12 leaves nothing of the 12 steps"),
        ("after: 6", "after: 0", "must be at least 1"),
        (", rollout.group_size: 8}}", "}}", "branch.arm stands for 2 arms, not one"),
        ("arm: {objective.preset: grpo", "arm: {objective.preset: gspo", "branch.arm stands for 0 arms, not one"),
        ("arm: {objective.preset: grpo", "arm: {objective.prest: grpo", "names 'objective.prest', which is not swept"),
        ("rollout.group_size: {values: [4, 8]}", "policy.dtype: {values: [float32, bfloat16]}", "not swept"),
        ("seeds:", "resources: {workers: 2}\nseeds:", "for trials of one worker"),
    ],
)
def test_a_branch_that_cannot_be_run_is_a_located_problem(tmp_path, old, new, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text=SWEEP.replace(old, new))
    assert message in caught.value.render()


def test_arms_of_another_policy_cannot_continue_the_trunk_s_weights(tmp_path):
    text = SWEEP.replace("rollout.group_size: {values: [4, 8]}", "policy.dtype: {values: [float32, bfloat16]}")
    with pytest.raises(ConfigError, match="another policy than the trunk"):
        load(tmp_path, text=text.replace("rollout.group_size: 8", "policy.dtype: float32"))
