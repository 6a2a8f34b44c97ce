"""The built-in engine against transformers' forward and against the stated sampling distribution."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from harness.engines.base import GenerationRequest, SamplingParams
from harness.engines.builtin import BuiltinEngine, sample, uniforms
from harness.policy.tiny import new_model
from tests.support.devices import DEVICES, NEEDS_GPU

VOCAB, STOP = 97, 3


def model(kind: str = "qwen2") -> torch.nn.Module:
    if kind == "tiny":
        made = new_model(VOCAB, hidden=32, layers=2, heads=4)
        with torch.no_grad():
            for name, p in made.named_parameters():
                if name.endswith("o_proj.bias"):  # zero at the start, which would hide a forgotten one
                    p.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
        return made
    if kind == "qwen2":
        torch.manual_seed(0)
        made = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=VOCAB, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, rope_theta=10000.0,
            )
        )  # fmt: skip
        with torch.no_grad():  # biases start at zero, which would hide a forgotten one; larger weights sharpen it
            for name, p in made.named_parameters():
                p.copy_(p * 4 if "norm" not in name else p)
                if name.endswith("bias"):
                    p.normal_(0, 0.5, generator=torch.Generator().manual_seed(1))
        return made
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=36, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, rope_theta=5000.0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def logprobs_of(policy: torch.nn.Module, context: list[int], tokens: tuple[int, ...]) -> np.ndarray:
    ids = torch.tensor([[*context, *tokens]], device=next(policy.parameters()).device)
    with torch.no_grad():
        logp = torch.log_softmax(policy(ids).logits[0].double().cpu(), -1)
    at = len(context) - 1
    return np.array([float(logp[at + i, t]) for i, t in enumerate(tokens)])


def prompts(n: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB, rng.integers(3, 30)).tolist() for _ in range(n)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "tiny"])
@pytest.mark.parametrize("device", DEVICES)
def test_logprobs_over_several_turns_with_rows_ending_at_different_times_equal_transformers(
    kind: str, packed: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.engines.decoder.CACHE_BYTES", 0 if packed else 1 << 40)
    policy = model(kind).to(device)
    engine = BuiltinEngine(policy, capacity=200)
    contexts = dict(enumerate(prompts(9)))
    contexts[5] = list(contexts[2])  # same prompt: shares the prefill
    rng = np.random.default_rng(1)
    checked = 0
    for turn in range(4):
        ids = [i for i in contexts if (i + turn) % 4 != 3]  # episodes drop in and out
        requests = [GenerationRequest(i, contexts[i], 100 * turn + i, 5 + i) for i in ids]
        for i, out in zip(ids, engine.generate(requests, SamplingParams(1.0, 12, STOP)), strict=False):
            assert len(out.tokens) == len(out.logprobs) <= min(12, 5 + i)
            assert out.stopped == (out.tokens[-1] == STOP)
            np.testing.assert_allclose(out.logprobs, logprobs_of(policy, contexts[i], out.tokens), atol=2e-5)
            contexts[i] += [*out.tokens, *rng.integers(4, VOCAB, rng.integers(1, 20)).tolist()]
            checked += len(out.tokens)
        if turn == 1:
            engine.release([0])
    assert checked > 100


def test_greedy_tokens_equal_generate() -> None:
    policy = model()
    policy.generation_config.eos_token_id = STOP
    for prompt in prompts(4):
        (out,) = BuiltinEngine(policy, capacity=100).generate(
            [GenerationRequest(0, prompt, 0, 20)], SamplingParams(0.0, 20, STOP)
        )
        expected = policy.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=20, attention_mask=torch.ones(1, len(prompt))
        )
        assert list(out.tokens) == expected[0, len(prompt) :].tolist()


def test_a_generation_depends_on_its_own_seed_not_on_its_batch() -> None:
    policy, contexts = model(), prompts(6)
    params = SamplingParams(1.0, 10, STOP)
    together = BuiltinEngine(policy, capacity=100).generate(
        [GenerationRequest(i, c, 7 + i, 10) for i, c in enumerate(contexts)], params
    )
    for i, c in enumerate(contexts):
        (alone,) = BuiltinEngine(policy, capacity=100).generate([GenerationRequest(i, c, 7 + i, 10)], params)
        assert alone.tokens == together[i].tokens
    (other,) = BuiltinEngine(policy, capacity=100).generate([GenerationRequest(0, contexts[0], 99, 10)], params)
    assert other.tokens != together[0].tokens


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sampling_follows_the_stated_distribution(temperature: float) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)) * 2
    n = 40_000
    tokens, logp = sample(logits.expand(n, -1), uniforms([5], n)[0], temperature)
    p = torch.softmax(logits[0].double() / temperature, -1).numpy()
    counts = np.bincount(tokens.numpy(), minlength=40)
    rare = p * n < 5  # the usual rule for the chi-square approximation: pool the rare cells
    observed = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(p[~rare], p[rare].sum()) * n
    if expected[-1] == 0:
        observed, expected = observed[:-1], expected[:-1]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    np.testing.assert_allclose(logp[:100], np.log(p[tokens[:100]]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hidden_act", {"hidden_act": "gelu"}),
        ("use_sliding_window", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        ("partial_rotary_factor", {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
        ("gelu_new", {"model_type": "gpt2", "activation_function": "gelu_new"}),
    ],
)
def test_a_model_that_the_forward_does_not_compute_is_refused_by_name(name: str, change: dict[str, object]) -> None:
    given = {"model_type": "qwen2", "rope_theta": 10000.0, **change}
    config = AutoConfig.for_model(**given)
    with pytest.raises(ValueError, match=name if given["model_type"] == "qwen2" else "gpt2"):
        BuiltinEngine(SimpleNamespace(config=config), capacity=8)  # type: ignore[arg-type]


def test_a_weight_without_a_place_in_the_forward_is_refused() -> None:
    policy = model()
    policy.model.layers[1].self_attn.q_norm = torch.nn.LayerNorm(8)
    with pytest.raises(ValueError, match=r"layers\.1\.self_attn\.q_norm"):
        BuiltinEngine(policy, capacity=8)


PIECES = ["".join(np.random.default_rng(t).choice(list("ab<>/"), 1 + t % 3)) for t in range(VOCAB)]


def spelt(tokens: Sequence[int]) -> str:
    return "".join(PIECES[t] for t in tokens)


@pytest.mark.parametrize("stop", [("</a>",), ("ab", ">>"), ("b",), ("a<b/", "/>", "nowhere")])
def test_a_stop_string_ends_a_generation_with_the_token_that_completes_it(stop: tuple[str, ...]) -> None:
    """Against the same generation without stop strings, cut at the first token whose decoded prefix holds one."""
    requests = [GenerationRequest(i, c, 70 + i, 60) for i, c in enumerate(prompts(24))]
    free = BuiltinEngine(model(), capacity=200).generate(requests, SamplingParams(1.0, 60, STOP))
    outs = BuiltinEngine(model(), capacity=200).generate(requests, SamplingParams(1.0, 60, STOP, stop, spelt))
    shortened = 0
    for whole, out in zip(free, outs, strict=True):
        held = (n for n in range(1, len(whole.tokens) + 1) if any(s in spelt(whole.tokens[:n]) for s in stop))
        end = next(held, None)
        assert out.tokens == whole.tokens[:end]
        np.testing.assert_allclose(out.logprobs, whole.logprobs[:end], atol=1e-5)
        assert out.stopped == (whole.stopped or end is not None)
        shortened += end is not None and end < len(whole.tokens)
    assert shortened > 3


def test_stop_strings_need_a_text_to_be_looked_for_in() -> None:
    for stop, text in ((("a",), None), (("",), spelt)):
        with pytest.raises(ValueError, match="stop strings"):
            SamplingParams(1.0, 8, STOP, stop, text)


def test_new_weights_are_used_and_old_keys_forgotten() -> None:
    first, second = model(), model()
    with torch.no_grad():
        for p in second.parameters():
            p.mul_(1.2)
    engine = BuiltinEngine(first, capacity=60)
    request = GenerationRequest(0, prompts(1)[0], 1, 8)
    engine.generate([request], SamplingParams(1.0, 8, STOP))
    engine.load_weights(second)
    (out,) = engine.generate([request], SamplingParams(1.0, 8, STOP))
    np.testing.assert_allclose(out.logprobs, logprobs_of(second, list(request.context), out.tokens), atol=2e-5)


def test_lora_deltas_are_folded_in() -> None:
    from peft import LoraConfig, get_peft_model

    policy = get_peft_model(model(), LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"]))
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.3)
    (out,) = BuiltinEngine(policy, capacity=60).generate(
        [GenerationRequest(0, prompts(1)[0], 1, 8)], SamplingParams(1.0, 8, STOP)
    )
    np.testing.assert_allclose(out.logprobs, logprobs_of(policy, prompts(1)[0], out.tokens), atol=2e-5)
    with policy.disable_adapter():
        assert not np.allclose(out.logprobs, logprobs_of(policy, prompts(1)[0], out.tokens), atol=1e-2)


@pytest.mark.parametrize("device", DEVICES)
def test_after_a_sleep_and_new_weights_sequences_go_on_from_their_whole_context(device: str) -> None:
    policy, (prompt, *_) = model().to(device), prompts(1)
    engine, params = BuiltinEngine(policy, capacity=100), SamplingParams(1.0, 10, STOP)
    (before,) = engine.generate([GenerationRequest(0, prompt, 1, 10)], params)
    engine.sleep()
    with torch.no_grad():
        for p in policy.parameters():
            p.mul_(1.1)
    engine.load_weights(policy)
    longer = [*prompt, *before.tokens]
    (after,) = engine.generate([GenerationRequest(0, longer, 2, 10)], params)
    np.testing.assert_allclose(after.logprobs, logprobs_of(policy, longer, after.tokens), atol=2e-5)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NEEDS_GPU)])
def test_a_sleeping_engine_holds_no_keys_and_values_on_the_gpu(device: str) -> None:
    policy = model().to(device)
    engine, contexts = BuiltinEngine(policy, capacity=4096), prompts(20)
    awake = torch.cuda.memory_allocated()
    requests = [GenerationRequest(i, c, i, 2000) for i, c in enumerate(contexts)]
    engine.generate(requests, SamplingParams(1.0, 2000, STOP))
    assert torch.cuda.memory_allocated() > awake + 1_000_000
    engine.sleep()
    assert torch.cuda.memory_allocated() == awake
