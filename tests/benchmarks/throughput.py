"""A whole RL step of the harness against TRL's GRPOTrainer: `python -m tests.benchmarks.throughput`.

Both sides do the same step on the shipped tiny policy: 16 questions x 8 episodes played over several turns in the same
environment (same prompts, operators, parser, budgets, temperature), then four optimizer updates of 32 episodes each,
float32, no KL term, no gradient checkpointing, AdamW with rate zero (the policy stays what it is, so every step samples
from the same distribution). Ours samples with the built-in engine and updates by `harness.training.update`. TRL samples
through its `rollout_func`: the same rollout loop over transformers' `generate`, observations masked by `env_mask`.

Groups of equal rewards: the harness skips their forward and backward passes, since their gradient is zero; TRL computes
them. The second line of ours counts a step whose rewards are replaced by distinct ones, so that nothing is skipped.

The sides alternate within one process on one thread and are timed by CPU time; one step of each is thrown away.
Tokens are those of whole episodes, prompts included. TRL's step is all that happens between the beginnings of two
rollouts.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from harness.config import TrialConfig, load_trial
from harness.env.rollout import Environment, rollout
from harness.env.rollout_groups import rollout_groups
from harness.objectives.clip import make_clip
from harness.policy.load import Policy
from harness.training import factory
from harness.training.question_order import question_order
from harness.training.trial_data import load_trial_data
from harness.training.update import policy_update
from harness.training.warm_start.start_policy import base_policy
from harness.types import NO_UNIT, Group, Question, Trajectory
from tests.benchmarks.generate_engine import GenerateEngine

GOAL = 5.0
PROMPTS, GROUP, UPDATES = 16, 8, 4


def tiny_config() -> TrialConfig:
    return load_trial("tiny", [f"update.updates_per_batch={UPDATES}", "threads=1"])


class Ours:
    """The harness's own step; `seconds` of each call by part."""

    def __init__(self, config: TrialConfig, environment: Environment, questions: Any) -> None:
        self._config, self._environment, self._questions = config, environment, questions
        self._policy = base_policy(config)
        self._engine = factory.engine(config, self._policy)
        self._clip = make_clip(config.objective.clip)
        self._optimizer = torch.optim.AdamW(self._policy.trainable, lr=0.0, weight_decay=0.0, fused=True)
        self.steps: list[dict[str, float]] = []

    def step(self) -> None:
        asked = [next(self._questions) for _ in range(PROMPTS)]
        begun = time.process_time()
        groups = rollout_groups(self._engine, self._environment, asked, GROUP, (len(self.steps),), 1.0)
        rolled = time.process_time()
        result = self._update(groups)
        self._engine.load_weights(self._policy.model)
        updated = time.process_time()
        self._update([distinct_rewards(g) for g in groups])
        whole = time.process_time() - updated
        tokens = sum(t.n_tokens for g in groups for t in g.trajectories)
        self.steps.append(
            {
                "rollout": rolled - begun,
                "update": updated - rolled,
                "update_unskipped": whole,
                "tokens": tokens,
                "skipped": result.metrics["update/skipped_share"],
            }
        )

    def _update(self, groups: list[Group]) -> Any:
        return policy_update(self._policy.model, self._optimizer, groups, self._clip, self._config)


def distinct_rewards(group: Group) -> Group:
    """The same episodes with a different reward each: no advantage is zero."""
    made = tuple(
        replace(t, reward=replace(t.reward, total=t.reward.total + 0.01 * (i + 1) ** 2))
        for i, t in enumerate(group.trajectories)
    )
    return replace(group, trajectories=made)


class TrlSide:
    """TRL's trainer on a copy of the policy; before each of its rollouts `between` runs with the clock stopped."""

    def __init__(
        self, policy: Policy, environment: Environment, asked: list[Question], between: Callable[[], None]
    ) -> None:
        self._policy, self._environment, self._between = policy, environment, between
        self._asked = asked
        self._by_text = {q.text: q for q in asked}
        self._seeds = itertools.count()
        self._resumed: float | None = None
        self.steps: list[dict[str, float]] = []
        self._pending: dict[str, float] = {}

    def _rollout(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        if self._resumed is not None:
            seconds = time.process_time() - self._resumed
            self.steps.append(self._pending | {"update": seconds - self._pending["rollout"]})
        self._between()
        self._resumed = time.process_time()
        engine = GenerateEngine(trainer.accelerator.unwrap_model(trainer.model), 0)
        questions = [self._by_text[p] for p in prompts]
        played = rollout(engine, self._environment, questions, [next(self._seeds) for _ in prompts], 1.0)
        columns = [self._columns(t) for t in played]
        self._pending = {
            "rollout": time.process_time() - self._resumed,
            "tokens": sum(t.n_tokens for t in played),
            "episodes": len(played),
        }
        return {key: [c[key] for c in columns] for key in columns[0]}

    @staticmethod
    def _columns(t: Trajectory) -> dict[str, Any]:
        n = len(t.prompt_tokens)
        completion = t.token_ids[n:].tolist()
        return {
            "prompt_ids": list(t.prompt_tokens),
            "completion_ids": completion,
            "logprobs": [0.0] * len(completion),  # TRL reads them with vLLM only
            "env_mask": (t.unit_of_token[n:] != NO_UNIT).astype(int).tolist(),
            "outcome": t.reward.total,
        }

    def train(self, steps: int) -> None:
        from datasets import Dataset
        from trl import GRPOConfig, GRPOTrainer

        def reward(outcome: list[float], **_: Any) -> list[float]:
            return outcome

        with tempfile.TemporaryDirectory() as folder:
            arguments = GRPOConfig(
                output_dir=folder,
                use_cpu=True,
                bf16=False,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                logging_strategy="no",
                gradient_checkpointing=False,
                per_device_train_batch_size=PROMPTS * GROUP // UPDATES,
                steps_per_generation=UPDATES,
                num_generations=GROUP,
                max_completion_length=700,
                learning_rate=0.0,
                temperature=1.0,
                beta=0.0,
                loss_type="grpo",
                max_steps=UPDATES * steps + 1,  # the rollout after the last step ends it
            )
            trainer = GRPOTrainer(
                model=self._policy.model,
                args=arguments,
                processing_class=self._policy.chat.tokenizer,
                train_dataset=Dataset.from_list([{"prompt": q.text} for q in self._asked]),
                reward_funcs=reward,
                rollout_func=self._rollout,
            )
            torch.set_num_threads(1)
            trainer.train()


def rate(steps: list[dict[str, float]], *parts: str) -> float:
    """Median over steps of tokens a CPU second."""
    return statistics.median(s["tokens"] / sum(s[p] for p in parts) for s in steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="steps of each side that count (one more is thrown away)")
    parser.add_argument("--profile", action="store_true", help="print where a step of ours spends its time")
    options = parser.parse_args()
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = tiny_config()
    data = load_trial_data(config)
    policy = base_policy(config)
    environment = factory.environment(config, policy.chat, data)
    ours = Ours(config, environment, question_order(data.train, 0))
    if options.profile:
        ours.step()
        profile = cProfile.Profile()
        profile.runcall(ours.step)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    order = np.random.default_rng(0).permutation(len(data.train))
    asked = list({data.train[int(i)].text: data.train[int(i)] for i in order[: PROMPTS * (options.steps + 2)]}.values())
    theirs = TrlSide(policy, environment, asked, ours.step)
    theirs.train(options.steps + 1)
    mine, trl = ours.steps[1:], theirs.steps[1:]
    assert all(s["episodes"] == PROMPTS * GROUP for s in trl)
    skipped = statistics.mean(s["skipped"] for s in mine)
    print(f"{PROMPTS} x {GROUP} episodes, {UPDATES} updates, one thread, CPU time, {len(trl)} steps of TRL")
    for name, steps, update in (("ours", mine, "update"), ("ours*", mine, "update_unskipped"), ("TRL", trl, "update")):
        seconds = [statistics.median(s[p] for s in steps) for p in ("rollout", update)]
        tokens = statistics.median(s["tokens"] for s in steps)
        print(
            f"{name:>6}: rollout {seconds[0]:6.2f} s, updates {seconds[1]:6.2f} s, {tokens:6.0f} tokens a step, "
            f"{rate(steps, 'rollout', update):6.0f} tokens/s"
        )
    ratio = rate(mine, "rollout", "update") / rate(trl, "rollout", "update")
    unskipped = rate(mine, "rollout", "update_unskipped") / rate(trl, "rollout", "update")
    print(f"episodes of equal-reward groups, which ours skips: {skipped:.0%}; * without skipping: {unskipped:.1f}x")
    print(f"throughput: {ratio:.1f}x (goal >= {GOAL:g})")


if __name__ == "__main__":
    main()
