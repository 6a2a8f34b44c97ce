"""Arms with bit-identical runs are named, and no test counts them twice."""

from __future__ import annotations

import pandas as pd

from analysis.frames import Frames, metrics_frame
from analysis.parse_reliability import link_to_learning
from analysis.registered_plan import contrasts, read_analysis_plan
from analysis.summary import summarise
from tests.support.synthetic_sweep import ANALYSIS, made_frames

REWARDS = (0.1, 0.2, 0.3, 0.25, 0.4, 0.5)


def with_rewards(frames: Frames) -> Frames:
    """A training reward of its own in every arm and seed."""
    rows = [
        {"trial": t.trial, "arm": t.arm, "seed": t.seed, "step": s, "metric": "train/reward_mean"}
        | {"value": value + 0.01 * t.seed + 0.001 * list(frames.arms).index(t.arm)}
        for t in frames.trials.itertuples()
        for s, value in enumerate(REWARDS)
    ]
    metrics = pd.concat([frames.metrics, metrics_frame(rows)], ignore_index=True)
    return Frames(frames.name, frames.config, frames.trials, metrics, frames.arms)


def with_copy(frames: Frames, of: str, to: str, seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Frames:
    """The metrics of `to` replaced by those of `of`, in some seeds."""
    rows = frames.metrics
    copied = rows[(rows["arm"] == of) & rows["seed"].isin(seeds)].assign(arm=to)
    kept = rows[(rows["arm"] != to) | ~rows["seed"].isin(seeds)]
    metrics = pd.concat([kept, copied], ignore_index=True)
    return Frames(frames.name, frames.config, frames.trials, metrics, frames.arms)


def labels(frames: Frames) -> list[str]:
    return [c.label for c in contrasts(frames, read_analysis_plan(ANALYSIS))]


def test_different_arms_are_not_identical():
    frames = with_rewards(made_frames())
    assert frames.identical == {}
    assert labels(frames) == ["gsspo − grpo", "gspo − grpo"]


def test_an_identical_arm_leaves_the_tests_and_is_named():
    frames = with_copy(with_rewards(made_frames()), of="gsspo", to="gspo")
    assert frames.identical == {"gsspo": "gspo"}
    assert labels(frames) == ["gsspo − grpo"]  # the registered pair stays, though gspo comes first
    summary = summarise(frames, read_analysis_plan(ANALYSIS))
    assert "gsspo and gspo are one arm: every run is bit-identical" in summary.text()
    assert not any(name.startswith("gsspo") for name in link_to_learning(frames))


def test_arms_identical_to_each_other_are_not_compared():
    frames = with_copy(with_rewards(made_frames()), of="grpo", to="gspo")
    assert frames.identical == {"gspo": "grpo"}
    assert labels(frames) == ["gsspo − grpo"]


def test_one_different_seed_or_bit_makes_two_arms():
    frames = with_rewards(made_frames())
    assert with_copy(frames, "gsspo", "gspo", seeds=(0, 1, 2, 3)).identical == {}
    close = with_copy(frames, "gsspo", "gspo")
    metrics = close.metrics.copy()
    row = metrics.index[(metrics["arm"] == "gspo") & (metrics["metric"] == "train/reward_mean")][0]
    metrics.loc[row, "value"] += 1e-16
    assert (metrics["value"] != close.metrics["value"]).sum() == 1
    assert Frames(close.name, close.config, close.trials, metrics, close.arms).identical == {}


def test_few_equal_values_are_no_evidence():
    assert with_copy(made_frames(), "gsspo", "gspo").identical == {}
