"""Targets of evaluations, their configurations, and located errors on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from harness.config import ConfigError, load_trial
from harness.evaluation.evaluate_command import load_evaluation
from harness.policy.export import export_policy
from harness.policy.folders import PROVENANCE
from harness.policy.load import TINY_ASSETS
from harness.runs.layout import CONFIG, INFO
from tests.support.trained_policies import trained as kept_policy
from tests.support.trained_trial import Trained


def problems(*words: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_evaluation(words)
    return [f"{p.at}: {p.message}" for p in caught.value.problems]


def test_a_trial_is_evaluated_in_its_own_configuration_with_the_policy_it_kept_last(trained: Trained) -> None:
    _, (target,) = load_evaluation([str(trained.trial)])
    info = json.loads((trained.trial / INFO).read_text())
    assert target.folder == trained.trial / "policies" / "step-000002"
    assert (target.name, target.trial_key, target.step) == ("gsspo_seed3", info["key"], 2)
    assert target.config.seed == 3
    assert target.config.data.eval_questions == 4
    _, (earlier,) = load_evaluation([str(trained.trial), "step=0", "data.eval_questions=7", "environment.pool=revise"])
    assert earlier.step == 0
    assert (earlier.config.data.eval_questions, earlier.config.environment.pool) == (7, "revise")


def test_an_export_that_was_moved_away_still_knows_its_trial(trained: Trained, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained.trial / "policies" / "step-000001", moved)
    _, (target,) = load_evaluation([str(moved)])
    _, (original,) = load_evaluation([str(trained.trial), "step=1"])
    assert (target.trial_key, target.step, target.home) == (original.trial_key, 1, None)
    assert target.config.data == original.config.data
    _, (inside,) = load_evaluation([str(trained.trial / "policies" / "step-000001")])
    assert inside.home == trained.trial


def test_an_export_is_found_by_a_path_of_one_word_and_by_its_adapter(tmp_path: Path, monkeypatch) -> None:
    policy = kept_policy(lora=True)
    config = load_trial("tiny", ["data.eval_questions=9"])
    provenance = {"trial_key": "k", "step": 4, "config": config.model_dump(mode="json")}
    export_policy(policy, tmp_path / "out", merged=True, base=str(TINY_ASSETS), bases=tmp_path, provenance=provenance)
    monkeypatch.chdir(tmp_path)
    for word in ("out", "out/adapter"):
        _, (target,) = load_evaluation([word])
        assert (target.name, target.step, target.trial_key, target.home) == ("out", 4, "k", None)
        assert target.config.data.eval_questions == 9
    assert problems("ou/t") == ["command line:1:1: there is no folder 'ou/t'"]


def test_a_sweep_stands_for_all_its_trials_and_a_profile_for_its_start_policy(trained: Trained) -> None:
    _, targets = load_evaluation([str(trained.home / "demo"), "tiny"])
    assert [(t.name, t.folder is None) for t in targets] == [("gsspo_seed3", False), ("tiny", True)]
    assert targets[1].config.policy.kind == "tiny"


def test_any_model_is_evaluated_in_a_profile_that_has_to_be_named() -> None:
    _, (local, hub) = load_evaluation([str(TINY_ASSETS), "Some/Model-1B", "profile=tiny", "policy.dtype=bfloat16"])
    assert (local.folder, hub.folder) == (TINY_ASSETS, None)
    assert (hub.config.policy.kind, hub.config.policy.path, hub.config.policy.dtype) == (
        "hub",
        "Some/Model-1B",
        "bfloat16",
    )
    assert problems(str(TINY_ASSETS)) == [
        "command line:1:1: no trial made this model: it needs data and an environment"
    ]


def test_a_setting_newer_than_the_trial_has_its_usual_value(trained: Trained, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(trained.trial, old)
    config = yaml.safe_load((old / CONFIG).read_text())
    del config["save"], config["environment"]["observation_chars"]
    (old / CONFIG).write_text(yaml.safe_dump(config))
    _, (target,) = load_evaluation([str(old)])
    assert target.config.environment.observation_chars == 600


def test_every_mistake_comes_out_at_once_and_is_located(trained: Trained, tmp_path: Path) -> None:
    found = problems("tinny", "tiny", "votes=many", "method=[agent, direkt]", "data.eval_question=3")
    assert found == [
        "command line:1:1: there is no 'tinny'",
        "command line:1:1: unknown key 'data.eval_question'",
        "command line:1:7: votes must be an integer, not 'many'",
        "command line:1:16: method.1 must be 'agent' or 'direct' or 'cot' or 'self_consistency' or 'one_shot',"
        " not 'direkt'",
    ]
    assert problems("method=agent") == ["command line:1:1: no target"]
    assert problems("tiny", "method=[cot, cot]") == ["command line:1:8: method: names a method twice"]
    assert problems(str(trained.trial), "step=9") == ["command line:1:1: this trial kept no policy of step 9"]
    assert problems(str(tmp_path))[0].startswith("command line:1:1: this folder holds neither a trial nor a model")
    for name in ("policy.lora=null", "policy.kind=tiny"):
        assert "cannot be changed" in problems(str(trained.trial), name)[0]


def test_a_mistake_in_a_trials_own_file_is_located_there(trained: Trained, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(trained.trial, bad)
    text = (bad / CONFIG).read_text().replace("eval_questions: 4", "eval_questions: four")
    (bad / CONFIG).write_text(text)
    line = text[: text.index("eval_questions: four")].count("\n") + 1
    assert problems(str(bad)) == [f"{bad / CONFIG}:{line}:19: data.eval_questions must be an integer, not 'four'"]
    (bad / INFO).write_text("{")
    assert "trial.json is not readable" in problems(str(bad))[0]
    export = bad / "policies" / "step-000002"
    (export / PROVENANCE).write_text("[")
    assert "provenance.json is not readable" in problems(str(export))[0]
    shutil.rmtree(bad / "policies")
    shutil.copy(trained.trial / INFO, bad / INFO)
    assert problems(str(bad)) == ["command line:1:1: this trial kept no policy"]
