"""Names, params and colours of trials' runs in MLflow."""

from __future__ import annotations

import re
from pathlib import Path

from harness.config import expand, load_sweep
from harness.runs.records import TrialInfo
from harness.tracking.run_tags import RUN_COLOUR, TRIAL_NAME, arm_colours, sweep_description, trial_params, trial_tags
from reports.drawn_names import looks

SWEEP = """\
name: tags
hypothesis: h
profile: tiny
parameters:
  objective.preset: {values: [gsspo, grpo]}
  reward: {values: {"a$x": {format_penalty: 0.1}, 低: {format_penalty: 0.5}}}
seeds: 2
"""


def infos(tmp_path: Path) -> tuple[list[TrialInfo], dict[str, object]]:
    path = tmp_path / "tags.yaml"
    path.write_text(SWEEP, encoding="utf-8")
    spec = load_sweep(path)
    made = [
        TrialInfo(t.key, t.name, t.axes, spec.labels, t.seed, "c", t.config.model_dump(mode="json"), label=t.arm)
        for t in expand(spec, "c" * 64)
    ]
    return made, spec.resolved()


def test_every_setting_is_a_param_under_a_short_and_unique_name(tmp_path):
    info = infos(tmp_path)[0][0]
    found = trial_params(info)
    params = dict(found)
    assert len(params) == len(found)
    assert params["preset"] == "gsspo"
    assert params["reward"] == "a$x"
    assert params["seed"] == "0"
    assert float(params["learning_rate"]) == info.settings["update"]["learning_rate"]
    assert float(params["clip.low"]) == info.settings["objective"]["clip"]["low"]
    assert params["pool"] == info.settings["environment"]["pool"]
    assert {"policy.kind", "engine.kind", "backend.kind"} <= params.keys()
    assert all(re.fullmatch(r"[\w./ :-]{1,250}", name) and value for name, value in found)


def test_runs_of_an_arm_have_its_colour_in_the_figures(tmp_path):
    made, manifest = infos(tmp_path)
    arms = list(dict.fromkeys(info.arm for info in made))
    colours = arm_colours(reversed(made), manifest)
    assert colours == {arm: look.colour for arm, look in looks(arms).items()}
    assert len(set(colours.values())) == 4


def test_run_names_are_unique_and_begin_with_the_arm(tmp_path):
    made, manifest = infos(tmp_path)
    tags = [trial_tags(info, manifest, "id") for info in made]
    names = [t["mlflow.runName"] for t in tags]
    assert len(set(names)) == len(made)
    assert all(name.startswith(info.arm) for name, info in zip(names, made, strict=True))
    assert all(t[TRIAL_NAME].isascii() for t in tags)
    assert RUN_COLOUR == "mlflow.runColor"


def test_the_description_escapes_values_of_the_contrast():
    plan = {"primary": {"metric": "eval/em", "contrast": ["a*b", "<i>"], "axis": "x"}, "margin": 1, "alpha": 0.05}
    text = sweep_description(
        {"hypothesis": "h", "analysis": {**plan, "correction": "holm"}, "seeds": [0], "preregistration": "p" * 64}
    )
    assert r"of a\*b against \<i>" in text
