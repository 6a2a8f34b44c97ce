"""What a dry run takes from earlier data: failing checks and the spread between seeds; planted arms on disk."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from analysis.load import load_frames
from analysis.planted_effects import run_assay
from analysis.registered_plan import read_analysis_plan
from harness.config import SweepSpec, code_version, expand, load_sweep
from harness.runs.journal import Journal
from harness.runs.sweep_folder import SweepFolder
from harness.sweep.__main__ import main
from harness.sweep.design_preview import preview_design

SWEEP = """\
name: {name}
hypothesis: the objectives differ
profile: tiny
fixed: {{steps: 2, eval_every: 1}}
parameters:
  objective.preset: {{values: [gsspo, grpo]}}
seeds: 6
analysis:
  primary: {{metric: eval/em, contrast: [gsspo, grpo], axis: objective.preset}}
  paired: true
  margin: 0.03
  alpha: 0.05
  requires:
    - {{kind: level, metric: eval/turns, at_least: 3}}
    - {{kind: learns, metric: eval/em, at_least: 0.05}}
  assay: {{effect: -0.05, handicap: {{objective.credit_shuffle: 1.0}}}}
"""
EFFECTS = {"gsspo": 0.02, "grpo": 0.0, "handicap": -0.08, "placebo": 0.0}


def sweep(tmp_path: Path, name: str = "newer", **changes: str) -> SweepSpec:
    path, text = tmp_path / "sweep.yaml", SWEEP.format(name=name)
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    return load_sweep(path)


def run_made_up(spec: SweepSpec, root: Path) -> Path:
    """The sweep's folder with journals of trials that end at EM .5 plus their arm's effect and a seed's noise."""
    folder = SweepFolder(root)
    folder.write_manifest(spec)
    for trial in expand(spec):
        run = folder.trial(trial)
        run.prepare(trial, code_version(), spec.labels, spec.preregistration)
        arm = trial.axes["objective.preset"]
        with Journal(run.folder) as journal:
            for step in range(3):
                noise = 0.004 * ((7 * trial.seed + len(arm)) % 5 - 2)
                journal.metrics(step, {"eval/em": 0.3 + step * (0.1 + EFFECTS[arm] / 2 + noise), "eval/turns": 2.5})
            journal.finish(trial.key, {})
    return root


def preview(spec: SweepSpec, pilot: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=300)
    preview_design(console, spec, pilot)
    return console.file.getvalue()


def test_planted_arms_keep_their_names_on_disk_and_the_assay_finds_the_handicap_alone(tmp_path):
    frames = load_frames(run_made_up(sweep(tmp_path), tmp_path / "run"))
    assert list(frames.arms) == ["gsspo", "grpo", "handicap", "placebo"]
    assert frames.trials["included"].all()
    checks = run_assay(frames, read_analysis_plan(frames.config["analysis"])).checks
    assert [c.holds for c in checks] == [True, True, True]


def test_a_dry_run_warns_of_a_check_that_earlier_data_fail(tmp_path):
    spec = sweep(tmp_path)
    folder = run_made_up(spec, tmp_path / "run")
    printed = preview(spec, folder)
    (warning,) = [line for line in printed.splitlines() if "already fails" in line]
    assert "eval/turns at least 3" in warning
    assert "observed 2.5" in warning
    assert "4 of 5 measured checks hold" in printed
    shutil.rmtree(folder)
    assert "cannot be read" in preview(spec, folder)


def test_committed_results_of_the_same_comparison_are_its_pilots(tmp_path):
    sampled = {"eval/em": "eval_sampled/em", "eval/turns": "eval_sampled/turns"}
    printed = preview(sweep(tmp_path, **sampled, **{"fixed: {steps: 2, eval_every: 1}": "fixed: {}"}))
    for name in ("granularity", "granularity_replication"):
        lines = [line for line in printed.splitlines() if f"results/{name}" in line]
        assert any(line.startswith("warning: ") and "eval_sampled/turns at least 3" in line for line in lines)
        # of the planted arms, which did not run there, no check is due
        assert any("1 of 3 measured checks hold" in line for line in lines)
    (rate,) = [line for line in printed.splitlines() if line.startswith("assay: ")]
    assert "of simulated studies of 6 pairs of seeds, a placebo in 3.6% (SD of seed pairs 4.0 points" in rate
    assert "of results/granularity_replication" in rate  # the larger spread of the two
    assert 40 < float(rate.split("detected in ")[1].split("%")[0]) < 70
    assert "the assay requires a detection rate of 80%" in printed


def test_without_earlier_data_the_assay_assumes_a_spread_and_warns_of_a_low_rate(tmp_path):
    printed = preview(sweep(tmp_path, **{"effect: -0.05": "effect: -0.01"}))
    assert ", assumed)" in printed
    assert "warning: the assay requires a detection rate of 80%" in printed
    assert "the assay requires" not in preview(sweep(tmp_path, **{"effect: -0.05": "effect: -0.2"}))


def test_a_pilot_is_an_option_of_dry_runs(tmp_path, capsys):
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP.format(name="newer"))
    with pytest.raises(SystemExit):
        main([str(path), "--pilot", str(tmp_path)])
    assert "--pilot goes with --dry-run" in capsys.readouterr().err
