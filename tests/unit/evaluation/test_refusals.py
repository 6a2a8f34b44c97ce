"""What `evaluate` and `ask` cannot do or would ignore is refused at once, before anything heavy is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.config import ConfigError, load_sweep
from harness.config.key_names import key_names
from harness.config.schema import TrialConfig
from harness.config.unused_settings import ONE_QUESTION, TRAINING, repeated
from harness.evaluation.evaluate_command import load_evaluation

ROOT = Path(__file__).parents[3]
SEARCHED = "environment.search.retriever={kind: search_r1, url: 'http://127.0.0.1:9'}"


def problems(*words: str, one_question: bool = False) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_evaluation(words, one_question=one_question)
    return [p.message for p in caught.value.problems]


def own_questions(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(json.dumps({"id": "1", "question": "Who?", "golden_answers": ["A"]}) + "\n")
    return folder


def test_questions_of_ones_own_are_evaluated_by_their_path_alone(tmp_path: Path) -> None:
    folder = own_questions(tmp_path / "data", "mine.test.jsonl")
    _, (target,) = load_evaluation(["tiny", f"data.path={folder}", "data.eval_suites=[mine]", SEARCHED])
    assert (target.config.data.source, target.config.data.eval_suites) == ("files", ("mine",))


def test_a_path_and_the_world_as_its_source_contradict_each_other(tmp_path: Path) -> None:
    folder = own_questions(tmp_path / "data", "mine.test.jsonl")
    (problem,) = problems("tiny", "data.source=world", f"data.path={folder}")
    assert "data.path is of data.source files" in problem


def test_everything_missing_from_a_folder_is_named_at_once_with_what_it_holds(tmp_path: Path) -> None:
    folder = own_questions(tmp_path / "data", "mine.test.jsonl", "yours.test.jsonl")
    with pytest.raises(ConfigError) as caught:
        load_evaluation(["tiny", f"data.path={folder}", "method=cot"])
    method, questions, corpus = caught.value.problems
    assert "holds no test questions of world_longtail" in questions.message
    assert questions.hint == "data.eval_suites=[mine, yours]"
    assert str(questions.at) == "command line:1:11"
    assert "no passages" in corpus.message
    assert "knows only the answers of real questions" in method.message


def test_a_sweep_asks_for_training_questions_and_an_evaluation_does_not(tmp_path: Path) -> None:
    folder = own_questions(tmp_path / "data", "mine.test.jsonl")
    given = [f"data.path={folder}", "data.eval_suites=[mine]", SEARCHED]
    load_evaluation(["tiny", *given])
    with pytest.raises(ConfigError) as caught:
        load_sweep(ROOT / "ablations" / "format_penalty.yaml", [*given, "data.train_suites=[mine]"])
    assert any("holds no train questions of mine" in p.message for p in caught.value.problems)


@pytest.mark.parametrize(
    "name", [n for n in key_names(TrialConfig) if any(n == t or n.startswith(f"{t}.") for t in TRAINING)]
)
def test_a_setting_of_training_is_refused_in_an_evaluation(name: str) -> None:
    assert f"{name} has no effect: an evaluation trains nothing" in problems("tiny", f"{name}=1")


@pytest.mark.parametrize("name", ONE_QUESTION)
def test_a_setting_of_many_questions_is_refused_for_one(name: str) -> None:
    value = {"tracking": "{uri: x}", "level": "0.9"}.get(name, "1")
    found = problems("tiny", f"{name}={value}", one_question=True)
    assert f"{name} has no effect: one question is played, and not stored" in found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["votes=3"], "votes has no effect: method self_consistency is not evaluated"),
        (["method=cot", "plan=search"], "plan has no effect: method one_shot is not evaluated"),
        (["step=3"], "step has no effect: no target is a trial or a sweep, which keep policies of several steps"),
        (["profile=smollm2"], "profile has no effect: the targets have their own (tiny: tiny)"),
        (["policy.warm_start_lr=0.1"], "policy.warm_start_lr has no effect: policy.warm_start is none"),
    ],
)
def test_a_setting_without_an_effect_is_refused(words: list[str], message: str) -> None:
    assert message in problems("tiny", *words)


def test_the_number_of_training_questions_decides_what_a_question_alone_is_known_by() -> None:
    assert problems("tiny", "data.train_questions=3") == [
        "data.train_questions has no effect: an evaluation trains nothing"
    ]
    load_evaluation(["tiny", "data.train_questions=3"], one_question=True)


def test_a_setting_given_several_times_is_named() -> None:
    words = ["tiny", "data.eval_samples=1", "steps=3", "data.eval_samples=2", "data.eval_samples=3"]
    assert repeated(words) == ["data.eval_samples is given 3 times: the last counts"]
