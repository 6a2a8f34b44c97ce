"""The registered plan of tuning: checked, hashed, shown, and not silently left out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import ConfigError, SweepSpec, load_sweep

SWEEP = """\
name: tuned
hypothesis: the objectives differ at equal tuning
profile: tiny
parameters:
  objective.preset: {values: [gsspo, grpo, gspo]}
seeds: [0, 1]
tuning:
  budget: 12
  seeds: [100, 101]
  parameters:
    update.learning_rate: {low: 5e-5, high: 5e-4, scale: log}
    objective.kl_weight: {values: [0.0, 0.001]}
analysis: {primary: {metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}, margin: 0.03, alpha: 0.05}
"""


def load(tmp_path: Path, text: str = SWEEP) -> SweepSpec:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_sweep(path)


def test_budget_seeds_and_ranges_are_part_of_the_registered_plan(tmp_path):
    texts = [
        SWEEP,
        SWEEP.replace("budget: 12", "budget: 13"),
        SWEEP.replace("[100, 101]", "[100]"),
        SWEEP.replace("high: 5e-4", "high: 6e-4"),
    ]
    specs = [load(tmp_path, text) for text in texts]
    assert len({s.preregistration for s in specs}) == 4
    assert specs[0].resolved()["tuning"]["budget"] == 12


def test_a_dry_run_shows_the_plan_and_a_run_refuses_to_leave_it_out(tmp_path):
    from harness.sweep.design_preview import preview_tuning
    from harness.sweep.options import Options
    from harness.sweep.run import REFUSED, run_sweep

    console = Console(file=io.StringIO(), width=300)
    preview_tuning(console, load(tmp_path))
    shown = console.file.getvalue()
    assert "12 configurations an arm on seeds 100, 101, 72 trials" in shown
    assert "update.learning_rate 5e-05 to 0.0005 (log); objective.kl_weight one of 0.0, 0.001" in shown
    console = Console(file=io.StringIO(), width=300)
    assert run_sweep(load(tmp_path), Options(out=tmp_path / "runs"), console) == REFUSED
    assert "tuning is registered, and a sweep does not carry it out yet" in console.file.getvalue()
    assert not (tmp_path / "runs" / "tuned" / "trials").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[100, 101]", "[1, 100]", "9:10: seed 1 is the study's"),
        ("update.learning_rate", "update.learning_rat", "no trial has the setting 'update.learning_rat'"),
        ("objective.kl_weight", "objective.preset", "objective.preset is swept: it cannot be tuned, too"),
        ("low: 5e-5", "low: 5e-3", "low must be less than high"),
        ("low: 5e-5", "low: 0", "a log scale needs a positive low"),
        ("low: 5e-5, ", "", "needs low and high, or values"),
        ("budget: 12", "budget: 0", "must be at least 1"),
    ],
)
def test_a_plan_of_tuning_that_cannot_be_equal_is_a_located_problem(tmp_path, old, new, message):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SWEEP.replace(old, new))
    assert message in caught.value.render()


def test_a_start_seed_can_be_swept_where_it_draws_something(tmp_path):
    starts = "policy.start_seed: {values: [1, 2]}\n"
    text = SWEEP.replace("seeds: [0, 1]\n", f"  {starts}seeds: [0, 1]\n").split("tuning:")[0]
    with pytest.raises(ConfigError, match="start_seed draws nothing"):
        load(tmp_path, text)
    drawn = load(tmp_path, text.replace("parameters:", "fixed: {policy.init: random}\nparameters:"))
    assert {c.policy.start_seed for _, c in drawn.cells} == {1, 2}
