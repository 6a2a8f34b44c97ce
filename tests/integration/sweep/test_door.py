"""The door as a person uses it: a process, its exit status, what it prints and how fast."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import load_sweep
from harness.sweep.__main__ import main
from harness.sweep.design_preview import preview_design

ROOT = Path(__file__).parents[3]


def door(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.sweep", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)


def test_a_bad_file_exits_with_2_its_problems_on_stderr_and_no_traceback(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\nhypothesis: h\nprofile: tiny\nfixed: {stesp: 3, update.learning_rate: fast}\nseeds: []\n"
    )
    result = door(str(path))
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for place in ("4:9: unknown key 'stesp'", "4:41: update.learning_rate must be a number", "5:8: no seeds"):
        assert f"{path}:{place}" in result.stderr
    assert result.stderr.endswith("3 problems\n")


@pytest.mark.parametrize("arguments", [[], ["gone.yaml"], ["ablations/granularity.yaml", "--limit", "0"]])
def test_bad_usage_exits_with_2_and_no_traceback(arguments):
    result = door(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--plan", "--only", "g*"], "--only has no effect on --plan"),
        (["--plan", "--limit", "3"], "--limit has no effect on --plan"),
        (["--plan", "--rerun"], "--rerun has no effect on --plan"),
        (["--dry-run", "--prepare"], "--dry-run and --prepare: give one of them"),
        (["--gpus", "1x80GB"], "--gpus goes with --plan"),
        (["--pilot", "x"], "--pilot goes with --dry-run"),
    ],
)
def test_an_option_without_an_effect_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["granularity.yaml", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_setting_given_twice_is_named(tmp_path, capsys):
    plan = ["--plan", "--gpus", "1x80GB"]
    assert main([str(ROOT / "ablations" / "granularity.yaml"), *plan, "steps=1", "steps=2"]) == 0
    assert capsys.readouterr().err == "steps is given 2 times: the last counts\n"


def test_overrides_and_options_mix_in_any_order(tmp_path):
    result = door(
        "--dry-run", "ablations/granularity.yaml", "seeds=2", "--out", str(tmp_path), "steps=1", "--only", "g*_seed1"
    )
    assert result.returncode == 0, result.stderr
    assert "3 trials, 3 to run" in result.stdout
    [timed] = [line for line in result.stdout.splitlines() if line.startswith("timed on this machine")]
    _, step, evaluation = (float(n) for n in re.findall(r"([0-9.]+) s", timed))
    assert min(step, evaluation) > 0.1
    assert "warning: this design cannot reach α = 0.05; run 4 seeds an arm" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_metric_that_no_suite_has_for_itself_is_one_test():
    console = Console(record=True, file=io.StringIO(), width=200)
    preview_design(console, load_sweep(ROOT / "ablations" / "parse_reliability.yaml"))
    told = console.export_text()
    assert "over all suites together" in told
    assert "Single suites" not in told
