"""Help names every method and setting; a misspelt key is led to one that works."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import ConfigError, TrialConfig, load_sweep, load_trial
from harness.config.evaluation import EvaluationSettings, Method, read_settings
from harness.config.key_names import key_names
from harness.config.settings_help import METHODS
from harness.config.sweep_file import SweepFile

ROOT = Path(__file__).parents[3]
NO_SECTION = [name for name in key_names(TrialConfig) if "." not in name]
LEAVES = [name for name in key_names(TrialConfig) if "." in name and not name.startswith("data.curriculum.")]
"""Without those of a list's entries, which no override names."""


def test_help_of_evaluate_names_every_method_and_setting(capsys):
    from harness.evaluation.evaluate_command import main

    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert set(METHODS) == set(get_args(Method))
    assert all(f"\n  {name} " in text for name in METHODS)
    assert all(f"\n  {name}=" in text for name in EvaluationSettings.model_fields)
    assert all(name.rpartition(".")[2] in text for name in LEAVES if name.count(".") == 1)


def problem_of(*overrides):
    with pytest.raises(ConfigError) as caught:
        load_sweep(ROOT / "ablations" / "granularity.yaml", overrides)
    return caught.value.problems


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("reward.format=-1", "'reward.format_penalty'"),
        ("format_penalty=.5", "'reward.format_penalty'"),
        ("learningrate=1", "'update.learning_rate'"),
        ("path=x", "'policy.path' or 'data.path'"),
        ("hypotesis=x", "'hypothesis'"),
        ("sead=3", "'seeds'"),
        ("enviroment.pool=full", "'environment.pool'"),
        ("trackng.uri=x", "'tracking.uri'"),
        ("analysis.primary.metric=em", "'eval/em'"),
    ],
)
def test_a_misspelt_key_is_led_to_one_that_works(given, meant):
    assert [problem.hint for problem in problem_of(given)] == [f"did you mean {meant}?"]


@given(st.sampled_from(LEAVES), st.data())
def test_a_key_with_a_letter_left_out_is_led_to_a_key_that_exists(name, data):
    section, _, last = name.rpartition(".")
    cut = data.draw(st.integers(0, len(last) - 1))
    wrong = f"{section}.{last[:cut]}{last[cut + 1 :]}"
    if len(last) < 4 or wrong in LEAVES:
        return
    with pytest.raises(ConfigError) as caught:
        load_trial("tiny", [f"{wrong}=1"])
    [problem] = [p for p in caught.value.problems if "unknown key" in p.message]
    hint = problem.hint or ""
    suggested = hint.removeprefix("did you mean ").rstrip("?").strip("'")
    assert suggested in LEAVES or hint.startswith("known: ")
    with pytest.raises(ConfigError) as again:
        load_trial("tiny", [f"{suggested if suggested in LEAVES else name}={{not: this}}"])
    assert not any("unknown key" in p.message and repr(suggested) in p.message for p in again.value.problems)


def test_a_trials_setting_at_the_top_of_a_sweep_file_is_led_to_its_place(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text("name: a\nhypothesis: b\nprofile: tiny\nseeds: 2\nsteps: 3\n")
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert "under fixed" in (caught.value.problems[0].hint or "")


@given(st.text("abcdefgh_.", min_size=1, max_size=12))
def test_no_override_is_ignored_in_silence(name):
    """A key is a setting of the evaluation, a trial's, or a problem."""
    known = {*EvaluationSettings.model_fields, *TrialConfig.model_fields}
    try:
        _, rest, problems = read_settings([f"{name}=1"])
    except ConfigError:
        return
    assert problems or rest or name.partition(".")[0] in known
    if name.partition(".")[0] not in known:
        assert [p.message for p in problems] == [f"unknown key {name!r}"]
    assert not set(SweepFile.model_fields) & {n for n, _ in rest}
