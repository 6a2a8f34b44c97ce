"""Settings of the environment reach the episodes: interfaces, perturbed prompts, faults with their fault-free twins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from harness.config import TrialConfig, load_trial
from harness.engines.builtin import BuiltinEngine
from harness.env.diagnostics import operators_called
from harness.env.fault_detection import Signal, read_faults
from harness.env.fault_injection import FAULTS
from harness.env.interfaces import NaturalInterface
from harness.env.rollout import Environment, rollout
from harness.evaluation import fault_demo, faulted_pair
from harness.policy.load import DTYPES, Policy
from harness.runs.episode_loader import trajectory
from harness.runs.episode_store import read_episodes, write_episodes
from harness.tasks.world import load_world
from harness.training import factory
from harness.training.evaluation import evaluate_variants, fault_metrics
from harness.training.prompt_room import engine_capacity
from harness.training.train import run_trial
from harness.training.trial_data import TrialData, load_trial_data
from harness.training.warm_start.scripted_agents import (
    Script,
    ScriptedEngine,
    look_up,
    malformed,
    spoken,
    turn,
)
from harness.training.warm_start.start_policy import base_policy
from harness.training.warm_start.world_agents import MEDIOCRE, agent
from harness.types import ActionKind, ParseFailure, Question, StopReason, Trajectory
from tests.support.memory_sink import Memory

SUITES = ("world_single", "world_chain")
ALL = f"environment.faults={{kinds: [{', '.join(FAULTS)}], positions: null, train_rate: 0.5, eval_rate: 1.0}}"
SEARCHED = (
    "environment.faults={kinds: [stale_fact, timeout, empty_result], positions: null, train_rate: 0.5, eval_rate: 0.5}"
)


def config(*overrides: str) -> TrialConfig:
    suites = f"data.eval_suites=[{', '.join(SUITES)}]"
    return load_trial("tiny", ["data.eval_questions=5", suites, *overrides])


@cache
def policy() -> Policy:
    return base_policy(config())


@cache
def questions() -> tuple[Question, ...]:
    return tuple(q for suite in SUITES for q in load_trial_data(config()).evaluation[suite])


def parts(*overrides: str) -> tuple[TrialConfig, Environment, TrialData]:
    made = config(*overrides)
    data = load_trial_data(made)
    return made, factory.environment(made, policy().chat, data), data


def play(environment: Environment, temperature: float = 1.0) -> list[Trajectory]:
    """The start policy on every question; with fewer lazy answers at a higher temperature."""
    engine = BuiltinEngine(policy().model, capacity=engine_capacity(config()), dtype=DTYPES["float32"])
    return rollout(engine, environment, questions(), range(len(questions())), temperature)


def searching(environment: Environment, chosen: Sequence[Question]) -> list[Trajectory]:
    """Scripted episodes that search, in whatever interface and syntax the environment has."""
    titles = {p.id: p.title for p in load_world().passages}
    scripts: list[Script] = [spoken(look_up(q, titles), environment.interface) for q in chosen]
    return rollout(ScriptedEngine(environment.chat, scripts), environment, chosen, range(len(chosen)), 0.0)


def read_by_policy(episode: Trajectory) -> str:
    tokenizer = policy().chat.tokenizer
    return "".join(tokenizer.decode(t.observation_tokens) for t in episode.turns)


def test_a_faulted_episode_and_its_twin_are_the_same_up_to_the_fault() -> None:
    made, standard, data = parts("environment.pool=full", ALL)
    faulted = play(factory.evaluation_variants(made, standard, data)["eval_fault"])
    struck = 0
    for episode, twin in zip(faulted, play(standard), strict=True):
        assert (episode.question, episode.sample_seed, episode.prompt_tokens) == (
            twin.question, twin.sample_seed, twin.prompt_tokens,
        )  # fmt: skip
        first = next((i for i, t in enumerate(episode.turns) if t.faults), None)
        same = max(len(episode.turns), len(twin.turns)) if first is None else first + 1
        for a, b in zip(episode.turns[:same], twin.turns[:same], strict=True):
            assert a.tokens == b.tokens
            # other episodes of the batch have parted, so that sums are rounded otherwise
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-3)
        if first is None:
            assert [t.result for t in episode.turns] == [t.result for t in twin.turns]
            continue
        struck += 1
        assert [t.result for t in episode.turns[:first]] == [t.result for t in twin.turns[:first]]
        at, true = episode.turns[first], twin.turns[first]
        assert at.result is not None
        assert true.result is not None
        assert at.faults[0].true_text == true.result.text != at.result.text
        assert at.observation_tokens != true.observation_tokens or not at.observation_tokens
    assert struck >= 2


def test_the_policy_sees_nothing_of_the_injection() -> None:
    made, standard, data = parts("environment.pool=full", ALL)
    variant = factory.evaluation_variants(made, standard, data)["eval_fault"]
    assert variant.prompt(questions()[0]) == standard.prompt(questions()[0])
    for episode in searching(variant, questions()):
        for t in episode.turns:
            for fault in t.faults:
                seen = read_by_policy(episode)
                assert fault.kind not in seen
                assert "fault" not in seen.lower()
                assert "inject" not in seen.lower()
    assert any(t.faults for e in searching(variant, questions()) for t in e.turns)


def test_faults_of_training_are_the_trials_and_those_of_evaluations_are_not() -> None:
    def faults(seed: int, training: bool) -> list[tuple[str, ...]]:
        made, standard, data = parts(SEARCHED)
        made = made.model_copy(update={"seed": seed})
        variant = (
            factory.with_training_faults(made, standard, data)
            if training
            else factory.evaluation_variants(made, standard, data)["eval_fault"]
        )
        return [tuple(f.kind for t in e.turns for f in t.faults) for e in searching(variant, questions())]

    assert faults(0, training=True) != faults(1, training=True)
    assert faults(0, training=False) == faults(1, training=False)


def test_variants_are_evaluated_under_their_splits_with_twins_and_rates() -> None:
    overrides = (SEARCHED, "environment.perturbations.eval=[brackets, typos+distractor]")
    made, standard, data = parts(*overrides)
    variants = factory.evaluation_variants(made, standard, data)
    greedy = play(standard, 0.0)
    engine = BuiltinEngine(policy().model, capacity=engine_capacity(config()), dtype=DTYPES["float32"])
    done = evaluate_variants(engine, variants, data.evaluation, greedy, 64)
    prompts = {"eval_prompt_brackets", "eval_prompt_typos_and_distractor"}
    assert set(done.episodes) == {"eval_fault", "eval_twin"} | prompts
    assert list(done.episodes["eval_twin"]) == greedy
    for split in done.episodes:
        assert [t.sample_seed for t in done.episodes[split]] == [t.sample_seed for t in greedy]
    for split in set(done.episodes) - {"eval_twin"}:
        means = [done.metrics[f"{split}/em/{suite}"] for suite in SUITES]
        assert done.metrics[f"{split}/em"] == pytest.approx(sum(means) / 2)
    assert {"eval_fault/struck", "eval_fault/exposed"} <= set(done.metrics)
    # the start policy knows XML only: asked for brackets, it goes on in XML, and none of that is executed
    assert done.metrics["eval_prompt_brackets/format_ok"] < 0.5 < sum(not t.failures for t in greedy) / len(greedy)


def test_recovery_is_counted_over_exposed_episodes_against_their_twins() -> None:
    made, standard, data = parts(
        "environment.faults={kinds: [timeout], positions: [0], train_rate: 0.0, eval_rate: 1.0}"
    )
    variant = factory.evaluation_variants(made, standard, data)["eval_fault"]
    right = questions()[:4]

    def say(environment: Environment, swayed: bool) -> list[Trajectory]:
        def script(q: Question, i: int) -> Script:
            seen = yield turn("Look.", tool=f"Search: {q.plan[0].subject}")
            lost = swayed and "did not answer" in seen and i < 3
            yield turn("Done.", answer="nothing" if lost else q.answers[0])

        scripts = [script(q, i) for i, q in enumerate(right)]
        return rollout(ScriptedEngine(environment.chat, scripts), environment, right, [0] * 4, 0.0)

    found = fault_metrics(say(variant, swayed=True), say(standard, swayed=True))
    assert found == pytest.approx(
        {
            "struck": 1, "exposed": 1, "detected": 0, "detected_twin": 0, "accepted": 1, "recovered": 0.25,
            "em_twin": 1, "effect": -0.75,
        }
    )  # fmt: skip
    assert fault_metrics(say(standard, swayed=False), say(standard, swayed=False)) == {"struck": 0.0, "exposed": 0.0}


@pytest.mark.parametrize("perturbation", ["brackets", "headings", "json_call", "few_shot", "typos"])
def test_episodes_are_played_in_the_syntax_of_their_prompt(perturbation: str) -> None:
    made, standard, _ = parts(f"environment.perturbations.train=[{perturbation}]")
    training = factory.training_environment(made, standard)
    for episode in searching(training, questions()[:6]):
        assert episode.stop is StopReason.ANSWERED
        assert episode.failures == ()
        assert episode.reward.total == 1.0
        assert any(t.result and t.result.operator == "Search" and t.result.failure is None for t in episode.turns)


def test_a_spoilt_turn_is_a_failure_in_every_syntax_and_is_said_properly_next() -> None:
    titles = {p.id: p.title for p in load_world().passages}
    for perturbation in ("brackets", "headings", "json_call"):
        made, standard, _ = parts(f"environment.perturbations.train=[{perturbation}]")
        training = factory.training_environment(made, standard)
        asked = questions()[:4]
        scripts = [
            malformed(spoken(look_up(q, titles), training.interface), 1.0, np.random.default_rng(i))
            for i, q in enumerate(asked)
        ]
        for episode in rollout(ScriptedEngine(training.chat, scripts), training, asked, [0] * 4, 0.0):
            assert episode.failures
            assert episode.reward.total == 0.5


def test_code_turns_run_through_the_same_rollout_and_every_call_is_counted() -> None:
    _, standard, _ = parts("environment.interface=code", "environment.max_calls=3")
    asked = questions()[:2]

    def script() -> Script:
        program = 'a = search("Chad")\nb = search("Niger capital")\nprint(a[:3], b[:3])'
        seen = yield f"<think>two</think><code>{program}</code>"
        assert seen == "<info>[1] [1]</info>"
        seen = yield '<think>more</think><code>print(search("Accra"))\nprint(search("Mali"))</code>'
        assert "BudgetError" in seen
        yield '<think>kept</think><code>answer("x" if a else "y")</code>'

    for episode in rollout(ScriptedEngine(standard.chat, [script(), script()]), standard, asked, [0, 0], 0.0):
        first, second, last = episode.turns
        assert [len(t.program_calls) for t in episode.turns] == [2, 1, 0]
        assert [c.asked for c in first.program_calls] == ["Chad", "Niger capital"]
        assert first.parsed.action is not None
        assert first.parsed.action.kind is ActionKind.CODE
        assert second.parsed.failures == (ParseFailure.OVER_BUDGET,)
        assert (last.parsed.answer_text, episode.stop) == ("x", StopReason.ANSWERED)


@pytest.mark.parametrize("interface", ["natural", "code"])
def test_every_injection_of_an_episode_is_recorded_in_both_interfaces(interface: str) -> None:
    kinds = "environment.faults={kinds: [timeout], positions: null, train_rate: 0.0, eval_rate: 1.0}"
    made, standard, data = parts(f"environment.interface={interface}", kinds)
    variant = factory.evaluation_variants(made, standard, data)["eval_fault"]
    for episode, twin in zip(searching(variant, questions()[:4]), searching(standard, questions()[:4]), strict=True):
        calls = [f.call_index for t in episode.turns for f in t.faults]
        assert calls == list(range(len(calls)))
        assert calls
        first = twin.turns[0].result
        assert first is not None
        assert episode.turns[0].faults[0].true_text == first.text.strip("\n")
        assert "did not answer in time" in read_by_policy(episode)


def test_without_settings_nothing_is_wrapped() -> None:
    made, standard, data = parts()
    assert factory.evaluation_variants(made, standard, data) == {}
    assert factory.training_environment(made, standard) is standard
    assert factory.with_training_faults(made, standard, data) is standard
    assert standard.interface == NaturalInterface(compact=True)
    assert standard.reworded is None


def test_the_door_prints_a_faulted_episode_and_its_twin_in_each_interface(capsys: pytest.CaptureFixture[str]) -> None:
    assert fault_demo.main(["timeout"]) == 0
    shown = capsys.readouterr().out
    for interface in ("natural", "code"):
        faulted, twin = (f"{interface} interface, {which}" for which in ("with the fault", "its twin, without"))
        assert shown.index(faulted) < shown.index(twin)
    assert shown.count("timeout; true result: [1] ") >= 2
    assert "Search did not answer in time" in shown
    assert shown.count("fault in turn 1: detected") == 2


def test_what_a_warm_start_imitates_is_the_same_in_both_interfaces() -> None:
    """The same decisions, calls and answers, so that a comparison of the interfaces starts from equals."""
    asked = load_world().split("train", "world_chain")[:40]

    def imitate(interface: str) -> list[tuple[list[str], str | None]]:
        _, standard, _ = parts(
            f"environment.interface={interface}", "environment.pool=full", "environment.max_turn_tokens=200"
        )
        rng = np.random.default_rng(1)
        scripts = [spoken(agent(q, standard.operators.pool, rng, MEDIOCRE), standard.interface) for q in asked]
        played = rollout(ScriptedEngine(standard.chat, scripts), standard, asked, range(40), 0.0)
        assert all(not t.parsed.failures for e in played for t in e.turns)
        return [([name for t in e.turns for name in operators_called(t)], e.reward.answer) for e in played]

    natural = imitate("natural")
    assert natural == imitate("code")
    assert len({tuple(names) for names, _ in natural}) >= 4


def test_what_was_done_about_a_fault_is_read_alike_in_both_interfaces_and_from_the_kept_episodes(
    tmp_path: Path,
) -> None:
    """The same decisions in words and in code give the same readings, before and after a journey through Parquet."""
    for kind, signal in (("timeout", Signal.CHANGED_QUERY), ("wrong_verdict", None)):
        readings = []
        for interface in ("natural", "code"):
            pair = faulted_pair.faulted_pair(interface, kind)
            assert pair is not None
            readings.append(read_faults(pair[0]))
            (row,) = read_episodes(write_episodes(tmp_path, 0, "eval_fault", [pair[0]]))
            assert read_faults(trajectory(row)) == readings[-1]
        assert readings[0] == readings[1]
        if signal is not None:
            assert signal in [s for _, s in readings[0][0].signals]


def test_a_trial_trains_under_its_perturbations_and_faults_and_evaluates_under_others() -> None:
    faults = "environment.faults={kinds: [timeout, empty_result], positions: null, train_rate: 1.0, eval_rate: 1.0}"
    prompts = "environment.perturbations={train: [paraphrased], eval: [typos]}"
    small = ("steps=1", "eval_every=1", "data.eval_samples=0", "rollout.prompts_per_step=4", "environment.max_turns=3")
    memory = Memory()
    final = run_trial(config(faults, prompts, *small), memory)
    splits = {"eval", "eval_fault", "eval_twin", "eval_prompt_typos"}
    assert set(memory.played) == {(0, s) for s in splits} | {(1, s) for s in splits} | {(1, "train")}
    assert {"eval/em", "eval_fault/em", "eval_fault/struck", "eval_prompt_typos/em"} <= set(final)
    train, twin = memory.played[1, "train"], memory.played[1, "eval_twin"]
    chat = policy().chat
    assert all("Tools: AnswerGenerate, Search" in chat.text(e.prompt_tokens) for e in train)
    assert all("Operators: AnswerGenerate, Search" in chat.text(e.prompt_tokens) for e in twin)
    assert any(t.faults for e in train for t in e.turns)
    assert not any(t.faults for e in twin for t in e.turns)
    assert twin == memory.played[1, "eval"]
