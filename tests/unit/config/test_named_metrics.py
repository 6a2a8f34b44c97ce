"""Every name of a metric, an operator or an arm in a study's YAML is checked before its first trial."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from harness.config import ConfigError, load_sweep, load_trial
from harness.config.metric_names import logged
from harness.config.tree import parse_overrides, within

ROOT = Path(__file__).parents[3]
METRIC = re.compile(r"(eval[a-z_]*|train|update|sampler|time)/[a-z0-9_/]+")

SWEEP = """\
name: demo
hypothesis: h
profile: tiny
parameters:
  objective.preset: {{values: [gsspo, grpo]}}
seeds: [0]
analysis:
  primary: {{metric: {metric}, contrast: [gsspo, grpo], axis: objective.preset}}
  margin: 0.03
  alpha: 0.05
  requires: [{check}]
"""


@pytest.mark.parametrize(
    ("metric", "check", "message"),
    [
        ("em", "{kind: discriminates, at_least: 0.5}", "no step or evaluation of the trial .* logs 'em'"),
        ("eval/em", "{kind: learns, metric: eval/me, at_least: 0.1}", "logs 'eval/me'"),
        ("eval/em", "{kind: level, metric: eval_fault/em, at_least: 0.1}", "logs 'eval_fault/em'"),
        ("eval/em", "{kind: differ, metric: update/klip, at_least: 0.1}", "logs 'update/klip'"),
        ("eval/em", "{kind: agree, metric: [eval/em], at_most: 0.1}", "metric must be text"),
        ("eval/em", "{kind: called, operator: Serch, at_least: 0.1}", "unknown operator 'Serch'"),
        ("eval/em", "{kind: control, metric: x, contrast: [gsspo, grpo], expect: none}", "logs 'x'"),
        ("eval/em", "{kind: control, metric: eval/em, contrast: [gsspo, no], expect: none}", "takes the value 'no'"),
        ("eval/em", "{kind: control, metric: eval/em, axis: steps, contrast: [1, 2], expect: none}", "'steps' is not"),
    ],
)  # fmt: skip
def test_a_name_that_nothing_has_is_refused_when_the_file_is_read(tmp_path, metric, check, message):
    path = tmp_path / "demo.yaml"
    path.write_text(SWEEP.format(metric=metric, check=check))
    with pytest.raises(ConfigError, match=message) as caught:
        load_sweep(path)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["claims.yaml", "design_checks.yaml", "legends.yaml"])
def test_metrics_that_the_page_of_findings_names_are_logged(name):
    overrides = [
        "environment.faults={kinds: [timeout], positions: null, train_rate: 0, eval_rate: 1}",
        "environment.perturbations.eval=[typos, paraphrased, distractor, brackets]",
        "data.eval_samples=2", "objective.kl_weight=0.1",
    ]  # fmt: skip
    known = set(logged(load_trial("tiny", overrides)))
    text = yaml.safe_load((ROOT / "reports" / "findings" / name).read_text(encoding="utf-8"))
    [(_, tree)] = parse_overrides([f"x={yaml.safe_dump(text, default_flow_style=True, width=10**6)}"])
    named = {node.value for node in within(tree) if isinstance(node.value, str) and METRIC.fullmatch(node.value)}
    assert {name for name in named if name not in known and not name.startswith("eval/em/")} == set()
