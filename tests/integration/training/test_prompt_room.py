"""A question that the engine has no room for is named before anything is sampled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import ask
from harness.config import code_version, expand, load_sweep, load_trial
from harness.env.prompts.chat import ChatFormat
from harness.runs.records import TrialStatus
from harness.runs.run import TrialRun
from harness.sweep import run_trials
from harness.sweep.worker import run_one
from harness.tasks.benchmarks import DataError
from harness.training import factory
from harness.training.prompt_room import check_prompts, engine_capacity
from harness.training.trial_data import load_trial_data
from tests.support.episodes import chat


@pytest.fixture(scope="module")
def standard():
    config = load_trial("tiny")
    data = load_trial_data(config)
    return config, factory.environment(config, chat(), data), data.train[0]


@pytest.mark.parametrize("word", ["where ", "\u4f4e"])
def test_the_longest_prompt_that_leaves_a_turn_is_the_longest_accepted(standard, word):
    config, environment, question = standard
    most = engine_capacity(config) - config.environment.max_turn_tokens
    lengths = {n: len(environment.prompt(replace(question, text=word * n))) for n in range(100, 1500, 100)}
    accepted = max(n for n, tokens in lengths.items() if tokens <= most)
    check_prompts(config, environment, [question, replace(question, text=word * accepted)])
    with pytest.raises(
        DataError, match=rf"question '{question.id}' of .*: its prompt has \d+ tokens; at most {most} leave"
    ):
        check_prompts(config, environment, [question, replace(question, text=word * (accepted + 100))])


def test_short_questions_are_not_encoded(standard, monkeypatch):
    config, environment, question = standard
    encoded = []
    monkeypatch.setattr(ChatFormat, "prompt", lambda self, system, user: encoded.append(user) or (1,) * 100)
    check_prompts(config, environment, [replace(question, text=f"where is {i}?") for i in range(50)])
    assert len(encoded) == 1


def test_ask_refuses_a_question_without_room_in_one_line(capsys):
    assert ask.main(["why " * 3000]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("cannot ask: question 'asked' of asked: its prompt has ")
    assert shown.err.count("\n") == 1


SWEEP = """\
name: narrow
hypothesis: "h"
profile: tiny
fixed: {steps: 1, data.eval_questions: 1, data.eval_suites: [world_single]}
seeds: 1
"""


def _prompt_too_long(config, journal):
    standard = load_trial_data(config)
    question = replace(standard.train[0], text="why " * 3000)
    check_prompts(config, factory.environment(config, chat(), standard), [question])


def test_a_trial_without_room_for_a_prompt_fails_once_and_is_not_raised_to_ray(tmp_path, capsys):
    (tmp_path / "narrow.yaml").write_text(SWEEP)
    (trial,) = expand(load_sweep(tmp_path / "narrow.yaml"), code_version())
    run = TrialRun(tmp_path / trial.directory)
    run.prepare(trial, code_version(), {})
    run_one(run, f"{__name__}:{_prompt_too_long.__name__}")  # returns: what it raised, Ray would try again
    assert run.status(trial.key) is TrialStatus.FAILED
    assert "DataError: question 'world" in run.error_line()
    assert run_trials.main([str(run.folder)], f"{__name__}:{_prompt_too_long.__name__}") == 1
    assert "DataError: question 'world" in capsys.readouterr().out
