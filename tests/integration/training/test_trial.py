"""A whole trial on the embedded tier: same seed, same numbers; another seed, other rollouts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.config import TrialConfig, expand, load_sweep
from harness.env.turn_rewards import turn_rewards
from harness.runs.journal import Journal
from harness.runs.jsonl import read_lines
from harness.runs.layout import EVENTS
from harness.tasks.benchmarks.errors import DataError
from harness.training import evaluation
from harness.training.train import run_trial
from harness.training.trial_data import load_trial_data
from tests.support.memory_sink import Memory

ROOT = Path(__file__).parents[3]
SMALL = (
    "steps=2",
    "eval_every=2",
    "data.eval_questions=3",
    "data.eval_suites=[world_single, world_chain]",
    "rollout.prompts_per_step=4",
    "rollout.group_size=4",
    "update.updates_per_batch=2",
)


def config(tmp_path: Path, seed: int, *overrides: str) -> TrialConfig:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: t\nhypothesis: none\nprofile: tiny\nparameters: {{}}\nseeds: [{seed}]\n")
    (trial,) = expand(load_sweep(file, [*SMALL, *overrides]))
    return trial.config


def run(tmp_path: Path, seed: int, *overrides: str) -> Memory:
    memory = Memory()
    run_trial(config(tmp_path, seed, *overrides), memory)
    return memory


def tokens(memory: Memory) -> list[list[int]]:
    return [t.token_ids.tolist() for t in memory.played[1, "train"]]


def test_same_seed_gives_identical_metrics_and_another_seed_other_rollouts(tmp_path: Path) -> None:
    first, again, other = run(tmp_path, 0), run(tmp_path, 0), run(tmp_path, 1)
    assert first.values == again.values
    assert tokens(first) == tokens(again) != tokens(other)
    assert [v["step"] for v in first.values] == [0, 1, 2]
    assert first.values[0]["eval/em"] == other.values[0]["eval/em"]  # one start policy, one fixed question set
    assert 0 < first.values[1]["sampler/logprob_gap"] < 1e-3


EVIDENCE = "objective.credit={source: evidence, returns: to_go, group: anchor, scale: std}"


def test_evidence_of_the_worlds_questions_is_credited_from_the_first_update_on(tmp_path: Path) -> None:
    """The same first rollouts, another update: searches that found a hop's value get credit of their own."""
    plain, credited = run(tmp_path, 0, "steps=1"), run(tmp_path, 0, "steps=1", EVIDENCE)
    assert tokens(plain) == tokens(credited)
    assert plain.values[1]["update/loss"] != credited.values[1]["update/loss"]
    assert any(sum(turn_rewards("evidence", t)) > 0 for t in credited.played[1, "train"])


def test_evidence_that_no_question_has_is_a_mistake_of_the_data(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "task.py").write_text(
        "from harness.types import Question as Q\ndef questions(split): return [Q(split, 'What?', ('x',), suite='s')]\n"
    )
    monkeypatch.chdir(tmp_path)
    own = ("data.source=task", "data.task=task.py", "data.train_suites=[s]", "data.eval_suites=[s]")
    with pytest.raises(DataError, match="no training question has a plan"):
        load_trial_data(config(tmp_path, 0, *own, EVIDENCE))


def test_another_stream_asks_the_same_questions_and_samples_other_episodes(tmp_path: Path) -> None:
    first, other = run(tmp_path, 0, "steps=1"), run(tmp_path, 0, "steps=1", "rollout.stream=1")
    asked = [[t.question.id for t in memory.played[1, "train"]] for memory in (first, other)]
    assert asked[0] == asked[1]
    assert tokens(first) != tokens(other)


def test_objectives_share_their_first_rollouts_and_then_part(tmp_path: Path) -> None:
    """At equal seeds the arms are paired: same questions, same random streams, same start."""
    arms = {p: run(tmp_path, 0, f"objective.preset={p}") for p in ("gsspo", "grpo", "gspo")}
    assert tokens(arms["gsspo"]) == tokens(arms["grpo"]) == tokens(arms["gspo"])
    losses = {p: m.values[2].get("update/grad_norm") for p, m in arms.items()}
    assert len(set(losses.values())) == 3


@pytest.mark.parametrize("extra", [("policy.lora={rank: 4, alpha: 8.0}",), ("objective.kl_weight=0.01",)])
def test_lora_and_a_kl_term_train_too(tmp_path: Path, extra: tuple[str, ...]) -> None:
    memory = run(tmp_path, 0, *extra)
    assert memory.values[1]["update/grad_norm"] > 0
    if "kl_weight" in extra[0]:
        assert "update/kl" in memory.values[2]


def test_a_random_initialisation_depends_on_the_seed(tmp_path: Path) -> None:
    short = ("policy.init=random", "environment.max_response_tokens=60", "environment.max_turn_tokens=20", "steps=1")
    first, other = run(tmp_path, 0, *short), run(tmp_path, 1, *short)
    assert first.played[0, "eval"][0].token_ids.tolist() != other.played[0, "eval"][0].token_ids.tolist()
    assert first.values[0]["eval/em"] == 0.0


def test_the_journal_of_a_trial_tells_what_happened_at_a_step(tmp_path: Path) -> None:
    """A random policy writes no well-formed turn: all rewards are equal, nothing is learned."""
    short = ("policy.init=random", "environment.max_response_tokens=60", "environment.max_turn_tokens=20")
    with Journal(tmp_path) as journal:
        run_trial(config(tmp_path, 0, *short, "save.when=final"), journal)
    told = [(record["kind"], record["fields"]) for record in read_lines(tmp_path / EVENTS).records]
    assert told == [("no_gradient", {"step": 1}), ("no_gradient", {"step": 2}), ("policy_kept", {"step": 2})]


def test_an_evaluation_plays_as_many_episodes_at_once_as_it_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    play = evaluation.rollout
    monkeypatch.setattr(evaluation, "rollout", lambda *a: (sizes.append(len(a[2])), play(*a))[1])
    run(tmp_path, 0, "steps=0", "data.eval_suites=[world_single]", "data.eval_samples=0", "data.eval_at_once=2")
    assert sizes == [2, 1]


def test_a_trial_on_questions_of_a_folder_needs_no_ray_no_mlflow_and_nothing_of_the_offline_world(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.file_trial", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.splitlines()[-1:] == ["[0, 1, 2] 3"], done.stderr[-2000:]
