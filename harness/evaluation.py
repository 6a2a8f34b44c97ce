"""Evaluation on a fixed set of questions: greedy, and sampled with fixed seeds, by suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.distributed.collective import ALONE, Collective, reunite, share
from harness.engines.base import Engine
from harness.rollout import Environment, rollout
from harness.signatures import episode_metrics
from harness.types import Question, Trajectory

EPISODES_AT_ONCE = 64
"""Bounds the engine's memory whatever the number of questions."""
EVALUATION_SEED = 771
"""Sampled answers use the same random streams in every evaluation of every trial."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`metrics` are named `eval/…`; `greedy` holds one episode a question, `sampled` `samples` a question."""

    metrics: dict[str, float]
    greedy: tuple[Trajectory, ...]
    sampled: tuple[Trajectory, ...]


def evaluate(
    engine: Engine,
    environment: Environment,
    suites: Mapping[str, Sequence[Question]],
    samples: int,
    temperature: float,
    workers: Collective = ALONE,
) -> Evaluation:
    """Play every question once greedily and `samples` times at `temperature`.

    `eval/em/<suite>`, `eval/f1/<suite>` and `eval/lenient/<suite>` are greedy, `eval/em_sampled/<suite>` means over
    samples; `eval/em` and `eval/em_sampled` are means over suites, each suite counting the same. Others are over all
    episodes. Several `workers` divide the questions, and each is given the whole result.
    """
    questions = [q for asked in suites.values() for q in asked]
    seeds = [EVALUATION_SEED + i for i in range(len(questions))]
    greedy = _play(engine, environment, questions, seeds, 0.0, workers)
    metrics = {f"eval/{k}": v for k, v in episode_metrics(greedy).items()}
    sampled: list[Trajectory] = []
    if samples:
        repeated = [q for q in questions for _ in range(samples)]
        seeds = [EVALUATION_SEED + i for i in range(len(repeated))]
        sampled = _play(engine, environment, repeated, seeds, temperature, workers)
        metrics |= {f"eval_sampled/{k}": v for k, v in episode_metrics(sampled).items()}
    for name, episodes in (("em", greedy), ("em_sampled", sampled), ("f1", greedy), ("lenient", greedy)):
        if not episodes:
            continue
        field = name.removesuffix("_sampled")
        means = []
        for suite in suites:
            scores = [getattr(t.reward, field) for t in episodes if t.question.suite == suite]
            means.append(float(np.mean(scores)))
            metrics[f"eval/{name}/{suite}"] = means[-1]
        metrics[f"eval/{name}"] = float(np.mean(means))
    return Evaluation(metrics, tuple(greedy), tuple(sampled))


def _play(
    engine: Engine,
    environment: Environment,
    questions: Sequence[Question],
    seeds: Sequence[int],
    temperature: float,
    workers: Collective,
) -> list[Trajectory]:
    mine = share(workers, list(zip(questions, seeds, strict=True)))
    played: list[Trajectory] = []
    for i in range(0, len(mine), EPISODES_AT_ONCE):
        part = mine[i : i + EPISODES_AT_ONCE]
        played += rollout(engine, environment, [q for q, _ in part], [seed for _, seed in part], temperature)
    return reunite(workers, played)
