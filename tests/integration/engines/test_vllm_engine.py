"""vLLM against transformers and the built-in engine, for real, on CPU with the tiny policy: `make test-vllm`."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from harness.config import TrialConfig
from harness.engines.base import Engine, GenerationRequest, SamplingParams
from harness.engines.builtin import BuiltinEngine
from harness.env.rollout import Environment, rollout
from harness.policy.forward import micro_batches, policy_logprobs
from harness.policy.load import Policy, with_lora
from harness.policy.policy_settings import LoraSettings
from harness.training import factory
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.start_policy import base_policy
from harness.types import Question, Trajectory
from tests.integration.engines.vllm_workers import ENGINE
from tests.support.memory_sink import Memory
from tests.support.small_trials import small_trial

if importlib.util.find_spec("vllm") is None:
    pytest.skip("vLLM is not in this environment: `make test-vllm` runs these", allow_module_level=True)

from harness.engines import vllm as module
from harness.engines.engine_settings import VllmSettings
from harness.engines.vllm import EngineError, VllmEngine
from harness.training.train import run_trial

pytestmark = pytest.mark.timeout(600)  # a stalled engine must not stall the suite

SETTINGS = VllmSettings(max_model_len=3600, kv_cache_gib=0.25, dtype="float32")
STOP = 2
CLOSE = 5e-4
"""Log-probs of two float32 kernels, at positions whose probabilities go down to e^-15: attention to one place
only, by large biases, magnifies their rounding."""


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    return small_trial(0)


@pytest.fixture(scope="module")
def start(config: TrialConfig) -> Policy:
    return base_policy(config)


@pytest.fixture(scope="module")
def environment(config: TrialConfig, start: Policy) -> Environment:
    return factory.environment(config, start.chat, load_trial_data(config))


@pytest.fixture(scope="module")
def questions(config: TrialConfig) -> Sequence[Question]:
    train = load_trial_data(config).train
    return train[:: len(train) // 24][:24]


@pytest.fixture(scope="module")
def shared(start: Policy) -> Iterator[VllmEngine]:
    engine = VllmEngine(start.model, SETTINGS)
    yield engine
    engine.close()


@pytest.fixture
def engine(shared: VllmEngine, start: Policy) -> VllmEngine:
    shared.load_weights(start.model)
    return shared


def moved(start: Policy, scale: float = 0.05) -> nn.Module:
    """Another policy: every weight a little different."""
    model = type(start.model)(start.model.config)
    model.load_state_dict(start.model.state_dict())
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)) * scale * p.std())
    return model


def contexts(n: int, length: int = 300) -> list[list[int]]:
    rng = np.random.default_rng(0)
    return [rng.integers(5, 2000, length).tolist() for _ in range(n)]


def gap(engine: Engine, model: nn.Module, prompts: Sequence[Sequence[int]]) -> float:
    """Largest difference between the engine's log-probs and the model's, over a sampled generation of each prompt."""
    requests = [GenerationRequest(i, p, i, 16) for i, p in enumerate(prompts)]
    worst = 0.0
    for r, out in zip(requests, engine.generate(requests, SamplingParams(1.0, 16, STOP)), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([[*r.context, *out.tokens]])).logits[0, len(r.context) - 1 : -1]
        expected = torch.log_softmax(logits.double(), -1).gather(-1, torch.tensor(out.tokens)[:, None])[:, 0]
        worst = max(worst, float((expected - torch.tensor(out.logprobs)).abs().max()))
    return worst


def play(engine: Any, environment: Environment, questions: Sequence[Question], temperature: float) -> list[Trajectory]:
    return rollout(engine, environment, questions, range(100, 100 + len(questions)), temperature)


def test_greedy_episodes_are_those_of_the_built_in_engine(
    engine: VllmEngine, start: Policy, environment: Environment, questions: Sequence[Question]
) -> None:
    ours = play(engine, environment, questions, 0.0)
    theirs = play(BuiltinEngine(start.model, capacity=3600), environment, questions, 0.0)
    assert [t.token_ids.tolist() for t in ours] == [t.token_ids.tolist() for t in theirs]
    assert max(len(t.turns) for t in ours) > 1
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.sampled_logprobs, b.sampled_logprobs, atol=CLOSE)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_of_sampled_episodes_are_the_trainers(
    engine: VllmEngine, start: Policy, environment: Environment, questions: Sequence[Question], temperature: float
) -> None:
    episodes = play(engine, environment, questions, temperature)
    assert sum(t.n_policy_tokens for t in episodes) > 400
    assert max(len(t.turns) for t in episodes) > 2
    for batch in micro_batches(episodes, 8192):
        with torch.no_grad():
            expected, _ = policy_logprobs(start.model, batch, temperature, False)
        sampled = np.concatenate([episodes[i].sampled_logprobs for i in batch.indices])
        np.testing.assert_allclose(sampled, expected, atol=CLOSE)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampling_follows_the_stated_distribution(engine: VllmEngine, start: Policy, temperature: float) -> None:
    (context,), n = contexts(1, 40), 3000
    requests = [GenerationRequest(i, context, 1000 + i, 1) for i in range(n)]
    tokens = np.array([g.tokens[0] for g in engine.generate(requests, SamplingParams(temperature, 1, STOP))])
    with torch.no_grad():
        logits = start.model(torch.tensor([context])).logits[0, -1].double()
    p = torch.softmax(logits / temperature, -1).numpy()
    counts = np.bincount(tokens, minlength=len(p))
    rare = p * n < 5
    observed, expected = np.append(counts[~rare], counts[rare].sum()), np.append(p[~rare], p[rare].sum()) * n
    assert (~rare).sum() >= 5
    assert stats.chisquare(observed, expected).pvalue > 1e-3


def test_a_generation_depends_on_its_own_seed_not_on_its_batch(engine: VllmEngine) -> None:
    params, prompts = SamplingParams(1.0, 12, STOP), contexts(6, 50)
    seeds = [2**61 + i for i in range(6)]
    together = engine.generate([GenerationRequest(i, p, seeds[i], 12) for i, p in enumerate(prompts)], params)
    for i in (3, 0):
        (alone,) = engine.generate([GenerationRequest(9, prompts[i], seeds[i], 12)], params)
        assert alone.tokens == together[i].tokens
    (other,) = engine.generate([GenerationRequest(9, prompts[0], 5, 12)], params)
    assert other.tokens != together[0].tokens


def test_a_generation_ends_at_its_stop_token_its_own_limit_or_the_longest_sequence(
    engine: VllmEngine, start: Policy
) -> None:
    (context,) = contexts(1, 30)
    (free,) = engine.generate([GenerationRequest(0, context, 1, 12)], SamplingParams(1.0, 12, 2047))
    cut = free.tokens.index(free.tokens[4])
    (stopped,) = engine.generate([GenerationRequest(0, context, 1, 12)], SamplingParams(1.0, 12, free.tokens[4]))
    assert stopped.tokens == free.tokens[: cut + 1]
    assert stopped.stopped
    (short,) = engine.generate([GenerationRequest(0, context, 1, 3)], SamplingParams(1.0, 12, 2047))
    assert (short.tokens, short.stopped) == (free.tokens[:3], False)
    long = context * 121
    request = GenerationRequest(0, long[: SETTINGS.max_model_len - 5], 1, 12)
    (full,) = engine.generate([request], SamplingParams(1.0, 12, 2047))
    assert len(full.tokens) == 5
    with pytest.raises(ValueError, match="no room"):
        engine.generate([GenerationRequest(0, long, 1, 12)], SamplingParams(1.0, 12, 2047))


def test_a_stop_string_ends_a_generation_with_the_token_that_completes_it(engine: VllmEngine, start: Policy) -> None:
    """Against the same generation without stop strings, cut at the first token whose decoded prefix holds one."""
    requests = [GenerationRequest(i, c, 50 + i, 40) for i, c in enumerate(contexts(12, 40))]
    free = engine.generate(requests, SamplingParams(1.0, 40, STOP))
    texts = [start.chat.text(g.tokens) for g in free]
    stop = (texts[0][3:6], texts[1][5:7], "e")
    stopped = engine.generate(requests, SamplingParams(1.0, 40, STOP, stop, start.chat.text))
    shortened = 0
    for whole, out in zip(free, stopped, strict=True):
        prefixes = (start.chat.text(whole.tokens[:n]) for n in range(1, len(whole.tokens) + 1))
        end = next((n for n, text in enumerate(prefixes, 1) if any(s in text for s in stop)), None)
        assert out.tokens == whole.tokens[:end]
        np.testing.assert_allclose(out.logprobs, whole.logprobs[:end], atol=CLOSE)
        assert out.stopped == (whole.stopped or end is not None)
        shortened += end is not None and end < len(whole.tokens)
    assert shortened > 5
    assert [g.tokens for g in engine.generate(requests, SamplingParams(1.0, 40, STOP))] == [g.tokens for g in free]


def test_episodes_with_stop_strings_are_those_of_the_built_in_engine(
    engine: VllmEngine, start: Policy, questions: Sequence[Question]
) -> None:
    config = small_trial(0, "environment.stop=[</tool>, </answer>]")
    environment = factory.environment(config, start.chat, load_trial_data(config))
    ours = play(engine, environment, questions, 0.0)
    theirs = play(BuiltinEngine(start.model, capacity=3600), environment, questions, 0.0)
    assert [t.token_ids.tolist() for t in ours] == [t.token_ids.tolist() for t in theirs]
    assert any(turn.tokens[-1] != start.chat.end_of_turn for t in ours for turn in t.turns)


def test_new_weights_are_used_at_once_and_the_check_would_see_old_ones(engine: VllmEngine, start: Policy) -> None:
    other, prompts = moved(start), contexts(6)
    assert gap(engine, start.model, prompts) < CLOSE
    assert gap(engine, other, prompts) > 0.1  # not synchronised yet: this is what a sync without effect looks like
    engine.load_weights(other)
    assert gap(engine, other, prompts) < CLOSE
    assert gap(engine, start.model, prompts) > 0.1


def test_every_kind_of_weight_arrives(engine: VllmEngine, start: Policy) -> None:
    """One layer's tensors of each name, changed one at a time: none is packed, cached or skipped."""
    (prompt,) = contexts(1, 60)
    names = [n for n, _ in start.model.named_parameters() if ".layers." not in n or ".layers.1." in n]
    assert len(names) >= 13
    for name in names:
        other = moved(start, 0.0)
        weight = other.get_parameter(name)
        with torch.no_grad():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 0.2)
        engine.load_weights(other)
        assert gap(engine, other, [prompt]) < CLOSE, name
        engine.load_weights(start.model)
    assert gap(engine, start.model, [prompt]) < CLOSE


def test_keys_of_old_weights_are_forgotten(engine: VllmEngine, start: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    other, prompts = moved(start), contexts(3)

    def cached() -> int:
        outputs = engine._llm.generate(
            [{"prompt_token_ids": p} for p in prompts], engine._make_params(max_tokens=1, detokenize=False)
        )
        return sum(o.num_cached_tokens for o in outputs)

    assert gap(engine, start.model, prompts) < CLOSE
    assert cached() > 0  # the prefix cache is at work
    engine.load_weights(other)
    assert cached() == 0
    assert gap(engine, other, prompts) < CLOSE
    monkeypatch.setattr(engine._llm, "reset_prefix_cache", lambda: True)
    engine.load_weights(start.model)
    assert gap(engine, start.model, prompts) > 1e-3  # what the reset prevents
    monkeypatch.undo()
    monkeypatch.setattr(engine._llm, "reset_prefix_cache", lambda: False)
    with pytest.raises(EngineError, match="prefix cache"):
        engine.load_weights(start.model)


def test_more_prompt_tokens_than_one_pass_takes_are_read_in_order(engine: VllmEngine, start: Policy) -> None:
    assert gap(engine, start.model, contexts(20, 700)) < CLOSE


def test_a_weight_that_does_not_arrive_is_an_error(
    engine: VllmEngine, start: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = module.plain_weights
    monkeypatch.setattr(
        module, "plain_weights", lambda m: ((n, w) for n, w in whole(m) if n != "model.layers.2.mlp.down_proj.weight")
    )
    with pytest.raises(EngineError, match=r"layers\.2\.mlp\.down_proj"):
        engine.load_weights(start.model)


def test_lora_deltas_are_folded_in(engine: VllmEngine, start: Policy) -> None:
    policy = with_lora(Policy(moved(start, 0.0), start.chat), LoraSettings(4, 16.0), seed=0).model
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.05, generator=torch.Generator().manual_seed(len(name)))
    prompts = contexts(4)
    assert gap(engine, policy, prompts) > 0.1
    engine.load_weights(policy)
    assert gap(engine, policy, prompts) < CLOSE


def test_weights_through_a_file_are_the_same(engine: VllmEngine, start: Policy) -> None:
    """The way to the worker processes of several GPUs."""
    other = moved(start)
    assert not any(engine._through_a_file(module.plain_weights(other)))
    assert engine._llm.reset_prefix_cache()
    assert gap(engine, other, contexts(2)) < CLOSE


def test_an_engine_leaves_the_process_as_it_was_and_another_can_follow(start: Policy) -> None:
    halved = moved(start, 0.0).to(torch.bfloat16)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = VllmEngine(start.model, replace(SETTINGS, dtype="bfloat16"))
    worst = gap(first, halved, contexts(4, 100))
    assert 1e-4 < worst < 0.3  # half precision is what was asked for
    del first  # without `close`, as when a trial fails
    second = VllmEngine(start.model, SETTINGS)
    assert torch.equal(torch.rand(4), expected)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert gap(second, start.model, contexts(2)) < CLOSE
    second.close()


def test_a_trial_of_two_steps_trains_on_it_and_starts_from_the_same_evaluation() -> None:
    vllm, builtin = Memory(), Memory()
    run_trial(small_trial(0, "engine={kind: vllm, kv_cache_gib: 0.25}"), vllm)
    run_trial(small_trial(0), builtin)
    first, *trained = vllm.values
    assert first == builtin.values[0]  # greedy evaluation of the start policy
    assert [v["step"] for v in trained] == [1, 2]
    for values in trained:  # step 2 samples from weights of step 1: a sync without effect would show here
        assert 0 < values["sampler/logprob_gap"] < 1e-4
        assert values["update/grad_norm"] > 0
        assert all(math.isfinite(v) for v in values.values())


def test_two_workers_with_an_engine_each_train_as_one_and_their_group_outlives_the_engines(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.integration.engines.vllm_workers"]
    processes = [
        subprocess.Popen([*command, str(rank), "2", str(tmp_path)], cwd=Path(__file__).parents[3], env=environment)
        for rank in range(2)
    ]
    alone = Memory()
    try:
        run_trial(small_trial(0, *ENGINE), alone)
        assert [p.wait(timeout=200) for p in processes] == [0, 0]
    finally:
        for p in processes:
            p.kill()
    tokens = [[t.token_ids.tolist() for t in alone.played[step, "train"]] for step in (1, 2)]
    for rank in range(2):
        worker = torch.load(tmp_path / f"{rank}.pt", weights_only=False)
        assert worker["after"] == [0, 1]  # the group still gathers
        assert worker["tokens"] == tokens
        for mine, other in zip(worker["values"], alone.values, strict=True):
            assert mine == pytest.approx(other, rel=1e-4, abs=5e-5)


def test_an_engine_in_a_process_of_its_own_does_the_same(start: Policy) -> None:
    from harness.engines.remote import RemoteEngine

    engine, prompts = RemoteEngine(start.model, SETTINGS, gpus=0), contexts(3)
    assert gap(engine, start.model, prompts) < CLOSE
    other = with_lora(Policy(moved(start), start.chat), LoraSettings(4, 8.0), seed=0).model
    assert gap(engine, other, prompts) > 0.1
    engine.load_weights(other)
    assert gap(engine, other, prompts) < CLOSE
    engine.close()
