"""How much of the machine's arithmetic an update uses, and how little memory: `python -m tests.benchmarks.update`.

A whole `policy_update` (segmentation, forward, GSsPO, backward, clipping, AdamW at rate zero) of a model of
SmolLM2-135M's shape with random float32 weights, with LoRA (rank 16) and with every weight trained, on episodes of 256
tokens. Floating-point operations, a multiply-add counting two, N the weights of the decoder's linear layers, V x H the
output layer, T the tokens, T' the policy tokens (only they reach the output layer), s the length, d = heads x head_dim:

    full    3 x [ 2 N T + 2 V H T' + layers x 2 s d T ]      (forward, gradients of inputs, gradients of weights)
    LoRA    2 x [ 2 N T + 2 V H T' ] + 3 x [ layers x 2 s d T + 2 A T ]      (A the adapters' weights; base frozen)

Attention counts half the square, as causality needs. Nothing computed twice (the output layer in the chunked backward)
counts twice. The peak is the best float32 matrix product of this machine with the same threads, measured between the
updates. Both are CPU time on one thread: the share is a ratio within one run.

The first updates of a process are thrown away: memory touched for the first time costs a virtual machine more than the
arithmetic. With LoRA the same update also runs under bfloat16 autocast, and its speed and log-probs are compared, since
whether that pays hangs on the processor.

Memory: the high-water mark of the process above its level before, for log-probs of 2,048 tokens over 49,152 words with
their backward, in a fresh process each: chunked against `log_softmax` of all logits.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.objectives.clip import FixedClip
from harness.objectives.presets import PRESETS
from harness.policy.forward import micro_batches, policy_logprobs
from harness.policy.logprobs import token_logprobs
from harness.training.update import policy_update
from harness.types import Group, ParsedTurn, Question, Reward, StopReason, Trajectory, Turn
from tests.support.update_config import update_config

GOAL = 0.5
LENGTH, PROMPT, TURN, OBSERVATION = 256, 64, 32, 32
WARM_UP = 2


def smollm2_shape() -> Any:
    """SmolLM2-135M's architecture with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        )
    )


def episodes(count: int) -> list[Group]:
    """One group of `count` episodes of 256 tokens: a prompt of 64, then turns and observations of 32 each in turn."""
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, 49152, n).tolist())

    question = Question("q", "?", ("a",), "benchmark")
    made = []
    for i in range(count):
        turns = tuple(
            Turn(draw(TURN), (-10.8,) * TURN, ParsedTurn("", None, None), TURN // 2, draw(OBSERVATION))
            for _ in range((LENGTH - PROMPT) // (TURN + OBSERVATION))
        )
        reward = Reward(float(i), 0.0, 0.0, 0.0, 0.0, 0.0, None)
        made.append(Trajectory(question, draw(PROMPT), turns, StopReason.ANSWERED, reward))
    return [Group(question, tuple(made))]


def operations(model: nn.Module, groups: list[Group]) -> float:
    """The formula of the module's first lines."""
    config: Any = model.config
    played = [t for g in groups for t in g.trajectories]
    tokens, predicted = sum(t.n_tokens for t in played), sum(t.n_policy_tokens for t in played)
    linear = sum(
        p.numel() for n, p in model.named_parameters() if p.dim() == 2 and ".lora_" not in n and "embed_tokens" not in n
    )
    adapters = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    weights = 2 * linear * tokens + 2 * config.vocab_size * config.hidden_size * predicted
    attention = sum(config.num_hidden_layers * 2 * t.n_tokens * config.hidden_size * t.n_tokens for t in played)
    if adapters:
        return 2 * weights + 3 * (attention + 2 * adapters * tokens)
    return 3 * (weights + attention)


def gemm_rate() -> float:
    """Best float32 matrix product of a few sizes, operations a CPU second."""
    best = 0.0
    for m, k, n in ((1024, 1024, 1024), (1024, 576, 1536), (1536, 1536, 1536)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        out = a @ b
        for _ in range(8):
            begun = time.process_time()
            torch.mm(a, b, out=out)
            best = max(best, 2 * m * k * n / (time.process_time() - begun))
    return best


def update_once(
    model: nn.Module, groups: list[Group], optimizer: torch.optim.Optimizer, budget: int, autocast: bool = False
) -> float:
    """CPU seconds of one update."""
    preset = PRESETS["gsspo"]
    settings = update_config(tokens_per_microbatch=budget, max_grad_norm=1.0, autocast=autocast)
    begun = time.process_time()
    policy_update(model, optimizer, groups, FixedClip(preset.band.low, preset.band.high), settings)
    return time.process_time() - begun


def peak_memory(chunked: bool, queue: Any) -> None:
    """Run in a fresh process: bytes the process grew by at its highest."""
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(2048, 576, generator=g, requires_grad=True)
    weight = torch.randn(49152, 576, generator=g, requires_grad=True)
    targets = torch.randint(49152, (2048,), generator=g)
    (hidden[:8] @ weight[:8].T).sum().backward()  # libraries and gradient buffers are there before the count
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if chunked:
        logp = token_logprobs(hidden, weight, targets)[0]
    else:
        logp = torch.log_softmax(hidden @ weight.T, -1).gather(-1, targets[:, None]).squeeze(-1)
    logp.sum().backward()
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def measure_memory() -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    grown = {}
    for name in ("chunked", "naive"):
        queue = context.Queue()
        process = context.Process(target=peak_memory, args=(name == "chunked", queue))
        process.start()
        grown[name] = queue.get(timeout=900) / 2**20
        process.join()
    return grown


def compare_autocast(
    model: nn.Module, groups: list[Group], optimizer: torch.optim.Optimizer, budget: int, seconds: float
) -> None:
    """bfloat16 autocast against float32 on the same update."""
    [update_once(model, groups, optimizer, budget, autocast=True) for _ in range(WARM_UP)]
    fast = update_once(model, groups, optimizer, budget, autocast=True)
    batch = micro_batches(groups[0].trajectories, budget)[0]
    with torch.no_grad():
        exact, rounded = (policy_logprobs(model, batch, 1.0, autocast)[0] for autocast in (False, True))
    gap = (exact - rounded).abs().max()
    print(
        f"       under bfloat16 autocast {seconds / fast:.2f}x as fast, log-probs off by at most {gap:.1e}", flush=True
    )


def show_profile(model: nn.Module, groups: list[Group], optimizer: torch.optim.Optimizer, budget: int) -> None:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as record:
        update_once(model, groups, optimizer, budget)
    rows = sorted(record.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(e.self_cpu_time_total for e in rows)
    for e in rows[:10]:
        print(f"    {e.self_cpu_time_total / total:6.1%}  {e.key} x{e.count}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=4, help="episodes of 256 tokens in an update")
    parser.add_argument("--repeats", type=int, default=3, help=f"updates that count (after {WARM_UP} that do not)")
    parser.add_argument("--tokens-per-microbatch", type=int, default=2048)
    options = parser.parse_args()
    torch.set_num_threads(1)
    groups = episodes(options.episodes)
    tokens = sum(t.n_tokens for t in groups[0].trajectories)
    grown = measure_memory()
    print(
        f"log-probs of 2048 tokens over 49152 words: {grown['chunked']:.0f} MB chunked, {grown['naive']:.0f} MB naive"
    )
    shares = {}
    for arm in ("LoRA", "full"):
        model = smollm2_shape()
        if arm == "LoRA":
            from peft import LoraConfig, get_peft_model

            model = get_peft_model(
                model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
            )
        trainable = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=0.0, weight_decay=0.0, fused=True)
        work = operations(model, groups)
        for _ in range(WARM_UP):
            update_once(model, groups, optimizer, options.tokens_per_microbatch)
        runs = []
        for _ in range(options.repeats):
            peak = gemm_rate()
            seconds = update_once(model, groups, optimizer, options.tokens_per_microbatch)
            runs.append((work / seconds / peak, seconds, peak))
        shares[arm] = statistics.median(r[0] for r in runs)
        seconds, peak = (statistics.median(r[i] for r in runs) for i in (1, 2))
        print(
            f"{arm:>5}: {seconds:.2f} s, {tokens / seconds:.0f} tokens/s, {work / seconds / 1e9:.1f} of "
            f"{peak / 1e9:.1f} GFLOP/s, share {shares[arm]:.2f}",
            flush=True,
        )
        if arm == "LoRA":
            compare_autocast(model, groups, optimizer, options.tokens_per_microbatch, seconds)
        if shares[arm] < GOAL:
            show_profile(model, groups, optimizer, options.tokens_per_microbatch)
        del model, optimizer
    print(f"update: {min(shares.values()):.2f} (goal >= {GOAL:.2f})")


if __name__ == "__main__":
    main()
