"""A made-up sweep that has everything a report can show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frames import metrics_frame
from harness.config.identity import registered_hash
from harness.types import OperatorFailure, ParseFailure
from tests.support.synthetic_episodes import answer, call, episode, malformed, random_episodes, write
from tests.support.synthetic_sweep import ANALYSIS, made_frames, write_sweep

SUITES = (("world_single", 1), ("world_compose", 2), ("world_chain", 3))
ARMS = ("grpo", "gspo", "gsspo")
RISE, MALFORMED, EM = (0.10, 0.12, 0.20), (0.3, 0.2, 0.1), (0.35, 0.4, 0.6)


def full_sweep(root: Path, seeds: int = 5, questions: int = 12, steps: int = 16, arms: Sequence[str] = ARMS) -> Path:
    """Three arms with greedy, sampled, faulted, twin and perturbed evaluations, and training traces."""
    analysis = {**ANALYSIS, "primary": {**ANALYSIS["primary"], "contrast": [arms[2], arms[0]]}}
    frames = made_frames(
        dict(zip(arms, RISE, strict=True)),
        seeds=tuple(range(seeds)),
        suites=[s for s, _ in SUITES],
        steps=tuple(range(0, steps + 1, 4)),
        analysis=analysis,
    )
    frames.metrics.loc[:, "value"] = frames.metrics["value"].clip(0, 1)
    sampled = frames.metrics.assign(metric=frames.metrics["metric"].str.replace("eval/em", "eval/em_sampled"))
    extra = []
    for i, trial in enumerate(frames.trials.itertuples()):
        rng = np.random.default_rng(i)
        ok = np.clip(0.8 + 0.01 * np.arange(steps) + rng.normal(0, 0.03, steps), 0, 1)
        traces = {
            "train/parse_ok_rate": ok,
            "train/em": np.clip(0.3 + 0.01 * np.arange(steps) + rng.normal(0, 0.05, steps), 0, 1),
            "train/reward_std": 0.5 + rng.normal(0, 0.05, steps),
            "update/grad_norm": np.exp(rng.normal(0, 0.3, steps)),
            "update/clip_fraction": rng.random(steps) * 0.1,
            "update/kl": np.arange(steps) * 1e-3,
        }
        extra += [
            {"trial": trial.trial, "arm": trial.arm, "seed": trial.seed, "step": s + 1, "metric": name, "value": v}
            for name, values in traces.items()
            for s, v in enumerate(values)
        ]
    metrics = pd.concat([frames.metrics, sampled, metrics_frame(extra)], ignore_index=True)
    frames = type(frames)(**{**frames.__dict__, "metrics": metrics})
    promise = {"hypothesis": "Units beat tokens.", "analysis": analysis, "seeds": list(range(seeds))}
    write_sweep(root, frames, {**promise, "preregistration": registered_hash(promise)})
    for i, trial in enumerate(frames.trials.itertuples()):
        arm = arms.index(frames.arms[trial.arm].settings["objective.preset"])
        _episodes(root, trial.trial, arm, steps, questions, np.random.default_rng([i, 1]))
    return root


def _episodes(root: Path, trial: str, arm: int, step: int, questions: int, rng: np.random.Generator) -> None:
    greedy = random_episodes(rng, questions, SUITES, MALFORMED[arm], EM[arm])
    greedy += [
        episode([call(text="same")] * 4 + [answer("?")], "loop", "world_single", 1, 0.0),
        episode([answer("?")], "lazy", "world_single", 1, 0.0),
        episode([malformed(ParseFailure.FORGED_INFO)] * 3, "lost", "world_single", 1, 0.0),
        episode(
            [
                call("AnswerGenerate", observation="Thought: it is <b>Paris</b>\nAnswer: Paris"),
                call("Review"),
                answer("Rome"),
            ],
            "second",
            "world_single",
            1,
            0.0,
        ),
    ]
    write(root, trial, step, "eval", greedy)
    write(root, trial, step, "eval_sampled", random_episodes(rng, questions, SUITES, MALFORMED[arm], EM[arm]))
    for name in ("terse", "verbose"):
        write(root, trial, step, f"eval_prompt_{name}", random_episodes(rng, questions, SUITES, 0.3, EM[arm] - 0.1))
    twins, faulted = [], []
    for q in range(questions):
        twins.append(episode([call(), answer()], f"q{q}", "world_single", 1, float(rng.random() < 0.8)))
        if rng.random() < EM[arm]:
            turns = [call(observation="[1] nonsense", fault="wrong_passage"), call(), answer()]
            faulted.append(episode(turns, f"q{q}", "world_single", 1, 1.0))
        else:
            turns = [call(failure=OperatorFailure.TIMEOUT, fault="timeout"), answer("?")]
            faulted.append(episode(turns, f"q{q}", "world_single", 1, 0.0))
    write(root, trial, step, "eval_twin", twins)
    write(root, trial, step, "eval_fault", faulted)
