"""The start policy is evaluated once for all trials that begin alike, and no journal can tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import TrialConfig, load_trial
from harness.config.metric_names import FAULTED, evaluated
from harness.runs.episode_store import read_episodes
from harness.runs.journal import Journal
from harness.runs.layout import EPISODES
from harness.runs.run import TrialRun
from harness.training import eval_cache, train
from harness.training.eval_cache import played_once, start_key

SMALL = (
    "steps=1",
    "eval_every=1",
    "data.eval_questions=2",
    "data.eval_suites=[world_single, world_chain]",
    "rollout={prompts_per_step: 2, group_size: 4}",
    "update.updates_per_batch=2",
    "environment.perturbations.eval=[brackets]",
)
MEASURED = ("generate_s", "operate_s", "latency_s")


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eval_cache, "_played", {})


def config(*overrides: str, seed: int = 0) -> TrialConfig:
    return load_trial("tiny", [*SMALL, *overrides], seed)


def test_evaluations_yield_the_metrics_that_may_be_registered_and_no_others(tmp_path, forgotten):
    struck = "environment.faults={kinds: [wrong_passage], positions: null, train_rate: 0.0, eval_rate: 1.0}"
    settings = config(struck, "steps=0", "data.eval_samples=1")
    with Journal(tmp_path) as journal:
        final = train.run_trial(settings, journal)
    measured = {name for name in final if name.startswith("eval")}
    assert measured <= set(evaluated(settings))
    # what is left are answers to faults, where no episode met any
    assert {name.partition("/")[0] for name in set(evaluated(settings)) - measured} <= {FAULTED}


def rows(folder: Path) -> dict[str, list]:
    found = {}
    for path in sorted((folder / EPISODES).iterdir()):
        found[path.name] = read_episodes(path)
        for row in found[path.name]:
            row["turns"] = [{k: v for k, v in turn.items() if k not in MEASURED} for turn in row["turns"]]
    return found


def test_a_trial_that_is_spared_its_first_evaluation_leaves_the_same_journal(tmp_path, monkeypatch, forgotten):
    played: list[int] = []
    evaluate = train.evaluate_all
    monkeypatch.setattr(train, "evaluate_all", lambda *a: (played.append(1), evaluate(*a))[1])
    with Journal(tmp_path / "alone") as alone:
        last = train.run_trial(config("objective.preset=grpo"), alone)
    assert len(played) == 2
    eval_cache._played.clear()
    with Journal(tmp_path / "first") as first:
        train.run_trial(config("objective.preset=gsspo", seed=3), first)
    with Journal(tmp_path / "spared") as spared:
        assert train.run_trial(config("objective.preset=grpo"), spared) == last
    assert len(played) == 2 + 2 + 1
    assert TrialRun(tmp_path / "spared").comparable_journal() == TrialRun(tmp_path / "alone").comparable_journal()
    assert rows(tmp_path / "spared") == rows(tmp_path / "alone")


@pytest.mark.parametrize(
    "override",
    ["objective.preset=gspo", "objective.kl_weight=0.1", "update.learning_rate=1e-2", "steps=9", "save.when=none",
     "rollout.group_size=2", "environment.faults.train_rate=0.3", "environment.perturbations.train=[typos]"],
)  # fmt: skip
def test_what_training_alone_depends_on_does_not_count(override):
    base = "environment.faults={kinds: [wrong_entity], positions: null, train_rate: 0.1, eval_rate: 0}"
    assert start_key(config(base, override, seed=5)) == start_key(config(base))


@pytest.mark.parametrize(
    "override",
    ["data.eval_questions=3", "data.eval_samples=2", "rollout.temperature=0.5", "policy.init=random", "threads=2",
     "environment.max_turns=3", "environment.search.top_k=1", "environment.backend={kind: simulated, abstains: 0.5}",
     "reward.format_penalty=0.1", "policy.lora={rank: 2, alpha: 4.0}",
     "environment.faults={kinds: [wrong_entity], positions: null, train_rate: 0, eval_rate: 0.5}"],
)  # fmt: skip
def test_what_the_first_evaluation_depends_on_counts(override):
    assert start_key(config(override)) != start_key(config())


def test_a_warm_start_depends_on_the_prompts_it_was_shown():
    warm = ["policy.warm_start=imitation", "policy.warm_start_episodes=10"]
    assert start_key(config(*warm, "environment.perturbations.train=[typos]")) != start_key(config(*warm))


def test_arms_that_take_turns_are_all_remembered(monkeypatch):
    from harness.training import eval_cache

    monkeypatch.setattr(eval_cache, "_played", {})
    played = []
    for _ in range(2):
        for arm in "abcdefgh":
            played_once(arm, lambda arm=arm: played.append(arm) or arm)
    assert played == list("abcdefgh")


@pytest.mark.parametrize("drawn", ["policy.init=random", "policy.lora={rank: 2, alpha: 4.0}"])
def test_a_start_that_is_drawn_is_the_seeds_own(drawn):
    assert start_key(config(drawn, seed=1)) != start_key(config(drawn, seed=2))
    assert start_key(config(drawn, seed=1)) == start_key(config(drawn, "objective.preset=gspo", seed=1))


@pytest.mark.parametrize(
    "service",
    ["environment.backend={kind: openai, base_url: 'http://127.0.0.1:1/v1', model: m}",
     "environment.search.retriever={kind: search_r1, url: 'http://127.0.0.1:1/retrieve'}"],
)  # fmt: skip
def test_what_a_service_may_answer_otherwise_is_asked_anew(service):
    assert start_key(config(service)) is None
    told = iter("ab")
    assert [played_once(None, lambda: next(told)) for _ in range(2)] == ["a", "b"]


def test_few_evaluations_are_kept(forgotten):
    for n in range(eval_cache.KEPT + 1):
        assert played_once(str(n), lambda n=n: n) == n
    assert len(eval_cache._played) == eval_cache.KEPT
    assert played_once("1", lambda: "new") == 1
    assert played_once("0", lambda: "new") == "new"
