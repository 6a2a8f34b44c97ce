"""One's own surrogate, advantage estimator and task: named in the sweep file, checked, part of a trial's identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import ConfigError, code_version, expand, load_sweep
from harness.config.evaluation import read_settings
from harness.config.metric_names import evaluated
from harness.evaluation.targets import find_targets
from harness.runs.run import TrialRun
from harness.training import factory
from harness.training.trial_data import load_trial_data
from tests.support.episodes import chat

ROOT = Path(__file__).parents[3]
TASK = """
from harness.types import Passage, Question
def questions(split):
    return [Question(f"{split}{n}", f"What is {n}?", (str(n),), suite="counting") for n in range(3)]
def is_right(answer, question):
    return answer.strip("0") == question.answers[0].strip("0")
def passages():
    return [Passage("p", "Numbers", "three is a number")]
"""
SHOUT = """
from dataclasses import replace
def shout(prompt, draw):
    return replace(prompt, aside="LISTEN! ")
"""
LOSS = "def f(ratio, advantage, band):\n    return -advantage * ratio\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "loss.py").write_text(LOSS)
    (tmp_path / "shout.py").write_text(SHOUT)
    (tmp_path / "s.yaml").write_text("name: s\nhypothesis: h\nprofile: tiny\nseeds: 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OWN_TASK = ["data.source=task", "data.task=task.py", "data.train_suites=[counting]", "data.eval_suites=[counting]"]


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_sweep("s.yaml", overrides)
    return [p.message for p in caught.value.problems]


def test_a_task_of_one_file_gives_questions_scoring_and_passages(folder: Path) -> None:
    data = load_trial_data(load_sweep("s.yaml", OWN_TASK).cells[0][1])
    assert [q.id for q in data.train] == ["train0", "train1", "train2"]
    asked = {q.id: q for q in data.evaluation["counting"]}
    assert set(asked) == {"test0", "test1", "test2"}
    assert data.is_right is not None
    assert data.is_right("200", asked["test2"])
    assert not data.is_right("3", asked["test2"])
    assert data.titles == {"p": "Numbers"}


def test_the_example_is_a_task_whose_scoring_is_wider_than_exact_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overrides = ["data.source=task", "data.task=examples/arithmetic.py", "seeds=1"]
    suites = ["data.train_suites=[sums]", "data.eval_suites=[sums]"]
    data = load_trial_data(load_sweep("ablations/granularity.yaml", [*overrides, *suites]).cells[0][1])
    question = data.train[0]
    gold = int(question.answers[0])
    assert data.is_right is not None
    assert [data.is_right(text, question) for text in (str(gold), f" {gold:,}.0 ", str(gold + 1), "many")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert not {q.id for q in data.train} & {q.id for q in data.evaluation["sums"]}


def test_a_change_of_ones_own_code_gives_another_trial_and_of_nothing_else(folder: Path) -> None:
    def keys(*overrides: str) -> list[str]:
        return [t.key for t in expand(load_sweep("s.yaml", overrides), "code")]

    default, task, loss = keys(), keys(*OWN_TASK), keys("objective.surrogate=loss.py:f")
    assert len({*default, *task, *loss}) == 3
    (folder / "task.py").write_text(TASK + "# another\n")
    (folder / "loss.py").write_text(LOSS + "# another\n")
    assert keys() == default
    assert keys(*OWN_TASK) != task
    assert keys("objective.surrogate=loss.py:f") != loss
    (folder / "loss.py").write_text(LOSS)
    assert keys("objective.surrogate=loss.py:f") == loss
    credit = "objective.credit={source: 'loss.py:f', returns: to_go, group: anchor, scale: std}"
    before = keys(credit)
    (folder / "loss.py").write_text(LOSS + "# another\n")
    assert keys(credit) != before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective.surrogate=loss.py:g"], "objective.surrogate: 'loss.py' has no function 'g'"),
        (["objective.advantage=no_such_module:f"], "objective.advantage: 'no_such_module' cannot be imported"),
        (["objective.surrogate=clip"], "objective.surrogate must be 'min_clip' or 'cispo'"),
        ([*OWN_TASK, "data.task=none.py"], "data.task: there is no file 'none.py'"),
        ([*OWN_TASK, "data.eval_suites=[sums]"], "task.py has no test questions of suite 'sums'"),
        (OWN_TASK[:1], "data.source: task and data.task: FILE.py go together"),
    ],
)
def test_a_mistake_in_naming_own_code_is_found_before_the_sweep(
    folder: Path, overrides: list[str], message: str
) -> None:
    assert any(message in found for found in problems(*overrides))


EVAL, TRAIN = "environment.perturbations.eval", "environment.perturbations.train"


def test_a_perturbation_of_ones_own_changes_the_prompt_alone_and_with_others(folder: Path) -> None:
    overrides = [f"{EVAL}=[shout.py:shout, brackets+shout.py:shout]", f"{TRAIN}=[shout.py:shout]"]
    (_, config), *_ = load_sweep("s.yaml", overrides).cells
    data = load_trial_data(config)
    standard = factory.environment(config, chat(), data)
    variants = factory.evaluation_variants(config, standard, data)
    assert list(variants) == ["eval_prompt_shout", "eval_prompt_brackets_and_shout"]
    question = data.train[0]
    assert all(e.reworded(question)[1].startswith("LISTEN! ") for e in variants.values())
    assert [e.interface.grammar.name for e in variants.values()] == [standard.interface.grammar.name, "brackets"]
    assert factory.training_environment(config, standard).reworded(question)[1].startswith("LISTEN! ")
    assert "eval_prompt_shout/em" in evaluated(config)


def test_a_change_of_a_perturbations_file_gives_another_trial(folder: Path) -> None:
    def key() -> str:
        return expand(load_sweep("s.yaml", [f"{EVAL}=[shout.py:shout]"]), "code")[0].key

    before = key()
    (folder / "shout.py").write_text(SHOUT.replace("LISTEN", "HEAR"))
    assert key() != before
    (folder / "shout.py").write_text(SHOUT)
    assert key() == before


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        (SHOUT, "shout.py:whisper", "'shout.py' has no function 'whisper'"),
        (SHOUT, "gone.py:shout", "there is no file 'gone.py'"),
        (SHOUT.replace("shout(", "typos("), "shout.py:typos", "has the name of a registered perturbation"),
        ("def f(prompt, draw):\n    return prompt.gone", "shout.py:f", "shout.py:2: AttributeError"),
        ("def f(prompt, draw):\n    return 'x'", "shout.py:f", "shout.py:f returned str, not a Prompt"),
        (
            SHOUT.replace('"LISTEN! "', "str(__import__('random').random())"),
            "shout.py:shout",
            "gives two prompts for one draw",
        ),
    ],
)
def test_a_mistake_in_a_perturbation_is_found_before_the_sweep(
    folder: Path, source: str, name: str, message: str
) -> None:
    (folder / "shout.py").write_text(source)
    for field in (EVAL, TRAIN):
        assert any(message in found for found in problems(f"{field}=[{name}]"))


@pytest.mark.parametrize("field", [EVAL, TRAIN])
def test_a_stored_trial_cannot_make_an_evaluation_run_its_perturbation(folder: Path, field: str) -> None:
    spec = load_sweep("s.yaml", [f"{field}=[typos+shout.py:shout]"])
    run = TrialRun(folder / "trial")
    run.prepare(expand(spec)[0], code_version(), spec.labels, "")
    weights = run.policy_path(1)
    weights.mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (folder / "shout.py").write_text(SHOUT + "open('ran', 'w').close()\n")
    with pytest.raises(ConfigError) as caught:
        find_targets(["trial"], *read_settings([])[:2])
    assert f"{field} is ['shout.py:shout']: their code is run, and a target does not choose that" in str(caught.value)
    assert not (folder / "ran").exists()
    find_targets(["trial"], *read_settings([f"{field}=[typos]"])[:2])
    assert not (folder / "ran").exists()
    find_targets(["trial"], *read_settings([])[:2], trust=True)
    assert (folder / "ran").exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1", "has no function questions(split)"),
        ("def questions(split):\n    return 1 / 0", "task.py:2: questions: ZeroDivisionError"),
        ("def questions(split):\n    return ['a']", "questions: returned 'a', not a Question"),
        (TASK.replace('f"{split}{n}"', "str(n)"), "the id '0' is given twice"),
        ("def questions(:", "SyntaxError"),
    ],
)
def test_a_mistake_in_the_task_file_is_reported_with_its_place(folder: Path, source: str, message: str) -> None:
    (folder / "task.py").write_text(source)
    assert any(message in found for found in problems(*OWN_TASK))


def test_a_scoring_that_returns_no_verdict_is_an_error(folder: Path) -> None:
    (folder / "task.py").write_text(TASK.replace("return answer.strip", "return 0.5 or answer.strip"))
    data = load_trial_data(load_sweep("s.yaml", OWN_TASK).cells[0][1])
    assert data.is_right is not None
    with pytest.raises(ValueError, match=r"is_right: returned 0\.5"):
        data.is_right("1", data.train[0])


def test_a_stored_trial_cannot_make_an_evaluation_run_its_task(folder: Path) -> None:
    """Its task is run where the command line names it, and not on the trial's word."""
    (folder / "task.py").write_text(TASK + "open('ran', 'w').close()\n")
    spec = load_sweep("s.yaml", [*OWN_TASK, "save.when=final"])
    run = TrialRun(folder / "trial")
    run.prepare(expand(spec)[0], code_version(), spec.labels, "")
    weights = run.policy_path(1)
    weights.mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # no tensors
    (folder / "ran").unlink()
    (folder / "task.py").write_text(TASK + "open('ran', 'w').close()\n# so that it is imported again\n")
    with pytest.raises(ConfigError) as caught:
        find_targets(["trial"], *read_settings([])[:2])
    assert "data.task is 'task.py': its code is run, and a target does not choose that" in str(caught.value)
    assert not (folder / "ran").exists()
    settings, overrides, _ = read_settings(["data.task=task.py"])
    assert [target.config.data.task for target in find_targets(["trial"], settings, overrides)] == ["task.py"]
    assert (folder / "ran").exists()
