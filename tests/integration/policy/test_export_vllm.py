"""Exports in vLLM: a merged model, a fully trained one, and an adapter on its base (where vLLM is installed)."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path

import pytest
import torch

from harness.engines.vllm_side_effects import hide_llvmlite_from_the_scan
from harness.policy.export import load_export
from harness.policy.load import TINY_ASSETS, Policy
from tests.support.trained_policies import QUESTION, export, trained
from tests.support.trained_trials import lora_trial

pytest.importorskip("vllm")

# in this process, so that a failure has a traceback and nothing is left running; these matter on CPU only
os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
os.environ |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}

TOKENS = 24


@pytest.mark.parametrize("form", ["full", "merged", "adapter"])
def test_vllm_loads_an_export_and_says_greedily_what_the_policy_says(tmp_path: Path, form: str) -> None:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    adapter = form == "adapter"
    policy = trained(lora=form != "full", by=0.02 if form == "full" else 0.1)
    folder = export(policy, tmp_path, merged=True, base=str(TINY_ASSETS))
    prompt = list(policy.chat.prompt("Operators: Search", QUESTION))
    engine = LLM(
        str(TINY_ASSETS if adapter else folder),
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        enable_lora=adapter,
        max_lora_rank=8,
    )
    params = SamplingParams(temperature=0.0, max_tokens=TOKENS, logprobs=0, stop_token_ids=[policy.chat.end_of_turn])
    request = LoRARequest("policy", 1, str(folder / "adapter")) if adapter else None
    (out,) = engine.generate([{"prompt_token_ids": prompt}], params, lora_request=request)
    said = list(out.outputs[0].token_ids)
    chances = [entry[token].logprob for token, entry in zip(said, out.outputs[0].logprobs, strict=True)]
    del engine, out
    gc.collect()
    expected, expected_chances = greedy(policy, prompt)
    assert said == expected
    assert chances == pytest.approx(expected_chances, abs=1e-3)
    before, before_chances = greedy(trained(lora=False, by=0.0), prompt)
    assert said != before or chances != pytest.approx(before_chances, abs=1e-2)  # what was loaded was trained


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora_trial(tmp_path_factory.mktemp("trial"))


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_vllm_loads_what_a_trial_itself_kept(kept: Path, form: str) -> None:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    hide_llvmlite_from_the_scan()  # the trial's search has imported it
    policy = load_export(kept, torch.float32)  # the merged model, by transformers
    prompt = list(policy.chat.prompt("Operators: Search", QUESTION))
    adapter = kept / "adapter"
    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    engine = LLM(
        str(kept) if form == "merged" else base,
        dtype="float32",
        enforce_eager=True,
        max_model_len=512,
        enable_lora=form == "adapter",
        max_lora_rank=8,
    )
    params = SamplingParams(temperature=0.0, max_tokens=TOKENS, logprobs=0, stop_token_ids=[policy.chat.end_of_turn])
    request = LoRARequest("policy", 1, str(adapter)) if form == "adapter" else None
    (out,) = engine.generate([{"prompt_token_ids": prompt}], params, lora_request=request)
    said = list(out.outputs[0].token_ids)
    chances = [entry[token].logprob for token, entry in zip(said, out.outputs[0].logprobs, strict=True)]
    del engine, out
    gc.collect()
    expected, expected_chances = greedy(policy, prompt)
    assert said == expected
    assert chances == pytest.approx(expected_chances, abs=1e-3)
    before, before_chances = greedy(trained(lora=False, by=0.0), prompt)
    assert said != before or chances != pytest.approx(before_chances, abs=2e-3)


@torch.no_grad()
def greedy(policy: Policy, prompt: list[int]) -> tuple[list[int], list[float]]:
    """Tokens and their log-probs by transformers."""
    said: list[int] = []
    chances: list[float] = []
    while len(said) < TOKENS and (not said or said[-1] != policy.chat.end_of_turn):
        logp = policy.model(input_ids=torch.tensor([prompt + said])).logits[0, -1].log_softmax(-1)
        said.append(int(logp.argmax()))
        chances.append(float(logp.max()))
    return said, chances
