"""What a GSsPO update costs over a GRPO update: `python -m tests.benchmarks.objective_cost`.

Both arms run the harness's own `policy_update` on the same trajectories with the same small Qwen2 model: segmentation,
forward, objective, backward, gradient clipping and an AdamW step whose learning rate is zero, so that every run does
the same work. The arms alternate, first one then the other first; the figure is the median over pairs of the ratio of
their CPU times on one thread (CPU time, so that other load on the machine counts as little as can be).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from harness.objectives.batch import segment_batch
from harness.objectives.clip import FixedClip
from harness.objectives.loss import policy_objective
from harness.objectives.presets import PRESETS
from harness.objectives.reductions import REDUCTIONS
from harness.policy.tiny import new_model
from harness.training.update import policy_update
from harness.types import Group, ParsedTurn, Question, Reward, StopReason, Trajectory, Turn
from tests.support.update_config import update_config

GOAL = 1.01
VOCABULARY = 2048


def make_groups(prompts: int, group_size: int, seed: int) -> list[Group]:
    """Episodes of one to eight Think-Action units of 10 to 40 tokens, observations of 10 to 60 tokens between them."""
    rng = np.random.default_rng(seed)

    def episode(question: Question, number: int) -> Trajectory:
        turns = []
        for _ in range(rng.integers(1, 9)):
            n = int(rng.integers(10, 41))
            turns.append(
                Turn(
                    tokens=tuple(rng.integers(0, VOCABULARY, n).tolist()),
                    logprobs=tuple((-np.log(VOCABULARY) - np.abs(rng.normal(0, 0.1, n))).tolist()),
                    parsed=ParsedTurn("", None, None),
                    action_start=n // 2,
                    observation_tokens=tuple(rng.integers(0, VOCABULARY, int(rng.integers(10, 61))).tolist()),
                )
            )
        reward = Reward(float(rng.normal()), 0.0, 0.0, 0.0, 0.0, 0.0, None)
        prompt = tuple(rng.integers(0, VOCABULARY, 80).tolist())
        return Trajectory(question, prompt, tuple(turns), StopReason.ANSWERED, reward, sample_seed=number)

    questions = [Question(str(i), "?", ("a",), "benchmark") for i in range(prompts)]
    return [Group(q, tuple(episode(q, i) for i in range(group_size))) for q in questions]


def update_seconds(arm: str, model: torch.nn.Module, groups: list[Group]) -> Callable[[], float]:
    """One whole update of this arm, timed in CPU seconds."""
    preset = PRESETS[arm]
    settings = update_config(
        ratio_unit=preset.ratio_unit, reduction=preset.reduction, tokens_per_microbatch=4096, max_grad_norm=1.0
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    clip = FixedClip(preset.band.low, preset.band.high)

    def run() -> float:
        start = time.process_time()
        policy_update(model, optimizer, groups, clip, settings)
        return time.process_time() - start

    return run


def objective_seconds(arm: str, groups: list[Group]) -> float:
    """CPU seconds of segmentation, weights, objective and its backward alone, median of 20."""
    preset = PRESETS[arm]
    trajectories = [t for g in groups for t in g.trajectories]
    old = torch.from_numpy(np.concatenate([t.sampled_logprobs for t in trajectories])).float()
    advantage = torch.randn(len(trajectories), generator=torch.Generator().manual_seed(0))
    times = []
    for _ in range(20):
        logp = (old + 0.01).requires_grad_()
        start = time.process_time()
        segmentation = segment_batch(trajectories, preset.ratio_unit)
        weights = REDUCTIONS[preset.reduction](segmentation)
        policy_objective(logp, old, advantage, segmentation, weights, preset.band).loss.backward()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40, help="pairs of updates to time")
    parser.add_argument("--prompts", type=int, default=4, help="groups of eight episodes in the batch")
    options = parser.parse_args()
    torch.set_num_threads(1)
    groups = make_groups(options.prompts, 8, seed=0)
    model = new_model(VOCABULARY)
    arms = {arm: update_seconds(arm, model, groups) for arm in ("grpo", "gsspo")}
    for run in arms.values():
        run()  # the first call allocates
    ratios, seconds = [], {arm: [] for arm in arms}
    for pair in range(options.pairs):
        order = list(arms) if pair % 2 == 0 else list(reversed(arms))
        taken = {arm: arms[arm]() for arm in order}
        ratios.append(taken["gsspo"] / taken["grpo"])
        for arm, value in taken.items():
            seconds[arm].append(value)
    tokens = sum(t.n_policy_tokens for g in groups for t in g.trajectories)
    print(f"{sum(len(g.trajectories) for g in groups)} episodes, {tokens} policy tokens, {options.pairs} pairs")
    for arm in arms:
        step, alone = statistics.median(seconds[arm]), objective_seconds(arm, groups)
        print(f"{arm:>6}: update {step:.3f} s, of which the objective {1000 * alone:.2f} ms ({alone / step:.2%})")
    resampled = np.median(np.random.default_rng(0).choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    print(f"95 % interval of the ratio: {low:.4f} to {high:.4f}")
    print(f"objective_cost: {statistics.median(ratios):.3f}x (goal ≤ {GOAL})")


if __name__ == "__main__":
    main()
