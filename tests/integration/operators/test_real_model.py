"""Operators served by a real model: in this process, and by a real OpenAI-compatible server on loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from harness.operators import CallContext, Toolbox
from harness.operators.base import LLMBackend
from harness.operators.completions import render
from harness.operators.llm.local import LocalLLM
from harness.operators.llm.openai import OpenAIBackend
from harness.operators.operator_settings import EndpointBackend, HttpSettings
from harness.operators.specs.answer_generate import COMPLETION
from harness.types import OperatorFailure, OperatorResult
from tests.support.recorded_llm import RecordedLLM
from tests.support.small_world import ONE_HOP, run

Q = ONE_HOP[0]
REPLY = "<thought>t</thought><answer>Paris</answer>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny byte-level Qwen2 that has learnt one thing: to answer any AnswerGenerate prompt with REPLY."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        ["a"], trainers.BpeTrainer(vocab_size=258, initial_alphabet=alphabet, special_tokens=special)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=special[1], pad_token=special[1])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    llm = Qwen2ForCausalLM(config)
    messages = [dict(m) for m in render(COMPLETION, {"text": (Q.text,)})]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    head = tokenizer.encode(prompt, add_special_tokens=False)
    tail = tokenizer.encode(REPLY + special[1], add_special_tokens=False)
    ids = torch.tensor([head + tail])
    labels = torch.tensor([[-100] * len(head) + tail])
    optimizer = torch.optim.Adam(llm.parameters(), lr=5e-3)
    for _ in range(200):
        loss = llm(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.005:
            break
    folder = tmp_path_factory.mktemp("model")
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def call(llm: LLMBackend, name: str = "AnswerGenerate", seed: int = 0) -> OperatorResult:
    box = Toolbox([name], llm, max_tokens=64)
    return run(box.call(name, Q.text, CallContext(Q, seed)))


def test_a_model_in_this_process_serves_operators(model: Path) -> None:
    result = call(LocalLLM(model, threads=1))
    assert (result.text, result.failure, result.retries) == ("Thought: t\nAnswer: Paris", None, 0)
    assert result.completion_tokens == len(REPLY)
    assert result.prompt_tokens > 100
    assert result.latency_s > 0


def test_sampling_depends_on_the_seed_alone_and_leaves_the_global_stream_untouched(model: Path) -> None:
    llm = LocalLLM(model)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = call(llm, "MultiAnswerGenerate", 1), call(llm, "MultiAnswerGenerate", 1)
    assert (first.text, first.failure) == (second.text, second.failure)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_thread_setting_is_put_back(model: Path) -> None:
    before = torch.get_num_threads()
    call(LocalLLM(model, threads=1))
    assert torch.get_num_threads() == before


def test_a_model_that_cannot_be_loaded_is_a_visible_failure(tmp_path: Path) -> None:
    assert call(LocalLLM(tmp_path)).failure is OperatorFailure.SERVER_ERROR


@pytest.fixture(scope="module")
def endpoint(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` over the model."""
    if importlib.util.find_spec("openai") is None:
        pytest.skip("transformers serve needs the openai package")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    program = str(Path(sys.executable).with_name("transformers"))
    arguments = [program, "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(arguments, stdout=out, stderr=out, env=environment)
    try:
        for _ in range(800):  # about 10 s on an idle core
            if server.poll() is not None:
                pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2, trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.mark.slow
def test_a_real_server_serves_operators_and_both_backends_agree(endpoint: str, model: Path, tmp_path: Path) -> None:
    http = HttpSettings(deadline_s=60, attempt_s=60)
    llm = RecordedLLM(OpenAIBackend(EndpointBackend(endpoint, str(model), http=http, cache=str(tmp_path / "c.db"))))
    first, second = call(llm), call(llm)
    assert first.text == "Thought: t\nAnswer: Paris" == call(LocalLLM(model)).text
    assert (first.cached, second.cached) == (False, True)
    assert second.text == first.text
    assert [response.cached for response in llm.responses] == [False, True]
    assert llm.failures == {}


@pytest.mark.slow
def test_a_real_server_is_asked_at_the_same_time(endpoint: str, model: Path) -> None:
    backend = OpenAIBackend(EndpointBackend(endpoint, str(model), http=HttpSettings(concurrency=4, deadline_s=60)))
    box = Toolbox(["AnswerGenerate"], backend, max_tokens=64)

    async def work() -> list[OperatorResult]:
        return list(await asyncio.gather(*(box.call("AnswerGenerate", Q.text, CallContext(Q, i)) for i in range(6))))

    assert {r.text for r in run(work())} == {"Thought: t\nAnswer: Paris"}


@pytest.mark.slow
def test_a_model_the_server_does_not_have_is_a_visible_failure(endpoint: str) -> None:
    http = HttpSettings(deadline_s=20, max_attempts=1)
    result = call(OpenAIBackend(EndpointBackend(endpoint, "no-such-model", http=http)))
    assert result.failure is OperatorFailure.SERVER_ERROR
