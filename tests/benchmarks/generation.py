"""The built-in engine against transformers' `generate` and vLLM: `python -m tests.benchmarks.generation`.

Two cases, both of many turns, where every turn's context is the whole episode so far:
- tiny: the shipped policy plays real episodes of the offline world (turns end when it says so);
- smollm2: random float32 weights of SmolLM2-135M's shape, 16 episodes in groups of 4 over prompts of 192 tokens, 3
  turns of 32 new tokens with observations of 128 between them: the lengths at which SmolLM2 plays on real questions.

`generate` gets the contexts as one left-padded batch a turn, samples at temperature 1 without top-k or top-p, and does
not compute the log-probs that the built-in engine returns. vLLM runs where it is installed, its prefix
cache on and without seeds of each request, which is its faster way.
The engines alternate within one process on one thread; rates are sampled tokens a CPU second, and the figure is the
smallest of the ratios to the fastest other engine.
"""

from __future__ import annotations

import argparse
import cProfile
import importlib.util
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from harness.config import load_trial
from harness.engines.base import Engine, Generation, GenerationRequest, SamplingParams
from harness.engines.builtin import BuiltinEngine
from harness.engines.vllm_side_effects import hide_llvmlite_from_the_scan
from harness.env.rollout import rollout
from harness.training import factory
from harness.training.prompt_room import engine_capacity
from harness.training.trial_data import load_trial_data
from harness.training.warm_start.start_policy import base_policy
from tests.benchmarks.generate_engine import GenerateEngine
from tests.benchmarks.update import smollm2_shape

GOAL = 1.5
Case = Callable[[Engine, int], int]
"""Plays a batch of episodes with an engine and a seed; the number of tokens sampled."""


def tiny_case() -> tuple[Any, Case, int]:
    """The shipped policy, 64 real episodes, and its end-of-turn token."""
    config = load_trial("tiny", ["threads=1"])
    data = load_trial_data(config)
    policy = base_policy(config)
    environment = factory.environment(config, policy.chat, data)
    chosen = np.random.default_rng(0).choice(len(data.train), 8, replace=False)
    asked = [data.train[int(i)] for i in chosen for _ in range(8)]

    def play(engine: Engine, seed: int) -> int:
        played = rollout(engine, environment, asked, [seed * 1000 + i for i in range(len(asked))], 1.0)
        return sum(t.n_policy_tokens for t in played)

    return policy.model, play, engine_capacity(config)


def smollm2_case() -> tuple[Any, Case, int]:
    episodes, turns, prompt, new, observation = 16, 3, 192, 32, 128

    def play(engine: Engine, seed: int) -> int:
        rng = np.random.default_rng(seed)
        prompts = [rng.integers(0, 49152, prompt).tolist() for _ in range(episodes // 4)]
        contexts = [list(prompts[i // 4]) for i in range(episodes)]
        sampled = 0
        for turn in range(turns):
            requests = [GenerationRequest(i, c, seed * 1000 + 10 * turn + i, new) for i, c in enumerate(contexts)]
            for context, out in zip(contexts, engine.generate(requests, SamplingParams(1.0, new, -1)), strict=True):
                context += [*out.tokens, *rng.integers(0, 49152, observation).tolist()]
                sampled += len(out.tokens)
        engine.release(range(episodes))
        return sampled

    return smollm2_shape().eval(), play, prompt + turns * (new + observation)


class VllmEngine:
    """vLLM over a saved copy of the model; float32, eager, one process."""

    def __init__(self, model: Any, capacity: int) -> None:
        os.environ |= {
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "TORCHDYNAMO_DISABLE": "1",
        }
        from vllm import LLM

        hide_llvmlite_from_the_scan()
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            self._llm = LLM(
                model=folder,
                dtype="float32",
                max_model_len=capacity,
                enforce_eager=True,
                skip_tokenizer_init=True,
                enable_prefix_caching=True,
                distributed_executor_backend="uni",
            )

    def generate(self, requests: Any, params: SamplingParams) -> list[Generation]:
        from vllm import SamplingParams as VllmParams

        settings = [
            VllmParams(
                temperature=params.temperature,
                max_tokens=min(params.max_tokens, r.max_tokens),
                stop_token_ids=[params.stop_token] if params.stop_token >= 0 else [],
                ignore_eos=params.stop_token < 0,
                logprobs=0,
                detokenize=False,
            )
            for r in requests
        ]
        prompts = [{"prompt_token_ids": list(r.context)} for r in requests]
        made = []
        for out in self._llm.generate(prompts, settings, use_tqdm=False):
            tokens = tuple(out.outputs[0].token_ids)
            made.append(Generation(tokens, (0.0,) * len(tokens), tokens[-1] == params.stop_token))
        return made

    def release(self, sequence_ids: Any) -> None: ...


def measure(name: str, case: tuple[Any, Case, int], repeats: int, profile: bool) -> float:
    """Ratio of the built-in engine's rate to the fastest other's; prints each rate."""
    model, play, capacity = case
    engines: dict[str, Any] = {
        "built-in": BuiltinEngine(model, capacity=capacity),
        "generate": GenerateEngine(model, 0),
    }
    if importlib.util.find_spec("vllm"):
        engines["vllm"] = VllmEngine(model, capacity)
    rates: dict[str, list[float]] = {e: [] for e in engines}
    for seed in range(repeats + 1):
        for e, engine in engines.items():
            begun = time.process_time()
            tokens = play(engine, seed)
            if seed:  # the first warms up
                rates[e].append(tokens / (time.process_time() - begun))
    medians = {e: statistics.median(values) for e, values in rates.items()}
    print(f"{name:>8}: " + ", ".join(f"{e} {r:.0f}" for e, r in medians.items()) + " tokens/s", flush=True)
    ratio = medians["built-in"] / max(r for e, r in medians.items() if e != "built-in")
    if profile or ratio < GOAL:
        calls = cProfile.Profile()
        calls.runcall(play, engines["built-in"], repeats + 1)
        pstats.Stats(calls).sort_stats("tottime").print_stats(12)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="batches that count (one more is thrown away)")
    parser.add_argument("--profile", action="store_true", help="show where the built-in engine spends its time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = {"tiny": tiny_case, "smollm2": smollm2_case}
    ratios = {name: measure(name, make(), options.repeats, options.profile) for name, make in cases.items()}
    print(", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items()))
    print(f"generation: {min(ratios.values()):.1f}x (goal >= {GOAL:g})")


if __name__ == "__main__":
    main()
