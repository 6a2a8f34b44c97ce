"""A profile of one's own: one YAML file, named by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import ConfigError, load_sweep, load_trial

SHIPPED = Path(__file__).parents[3] / "harness" / "config" / "profiles" / "tiny.yaml"


def study(folder: Path, profile: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(f"name: s\nhypothesis: h\nprofile: {profile}\nseeds: 1\n")
    return path


def own_profile(folder: Path, changed: str = "steps: 7") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(SHIPPED.read_text().replace("steps: 30", changed))
    return path


def test_a_profile_is_found_beside_the_sweep_file_and_from_the_working_directory(tmp_path, monkeypatch):
    own_profile(tmp_path / "studies" / "profiles")
    (_, beside), *_ = load_sweep(study(tmp_path / "studies", "profiles/mine.yaml")).cells
    assert (beside.steps, beside.profile) == (7, "profiles/mine.yaml")
    monkeypatch.chdir(tmp_path / "studies" / "profiles")
    assert load_trial("mine.yaml").steps == 7
    (tmp_path / "elsewhere").mkdir()
    assert load_sweep(study(tmp_path / "elsewhere", "mine.yaml")).cells[0][1].steps == 7


def test_a_profile_of_the_same_settings_gives_the_same_trial_but_for_its_name(tmp_path):
    path = own_profile(tmp_path, "steps: 30")
    assert load_trial(str(path)).model_copy(update={"profile": "tiny"}) == load_trial("tiny")


def test_a_missing_file_is_an_error_where_the_sweep_file_names_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_sweep(study(tmp_path, "mine.yaml"))
    (problem,) = caught.value.problems
    assert (problem.at.line, problem.at.column) == (3, 10)
    assert "'mine.yaml'" in problem.message
    assert "tiny" in problem.hint


def test_a_mistake_in_a_profile_is_found_in_its_file(tmp_path):
    own_profile(tmp_path, "stesp: 7")
    with pytest.raises(ConfigError) as caught:
        load_sweep(study(tmp_path, "mine.yaml"))
    found = {f"{p.at.source.name}:{p.at.line}": p for p in caught.value.problems}
    assert found["mine.yaml:2"].message == "unknown key 'stesp'"
    assert found["mine.yaml:2"].hint == "did you mean 'steps'?"
