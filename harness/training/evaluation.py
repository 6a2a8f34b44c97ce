"""Evaluation on a fixed set of questions: greedy, and sampled with fixed seeds, by suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config.metric_names import FAULTED, TWIN
from harness.distributed.collective import ALONE, Collective, reunite, share
from harness.engines.base import Engine
from harness.env.diagnostics import episode_metrics
from harness.env.fault_detection import Response, fires_without_fault, read_faults
from harness.env.rollout import Environment, rollout
from harness.types import Question, Trajectory

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
    at_once: int,
    workers: Collective = ALONE,
) -> Evaluation:
    """Play every question once greedily and `samples` times at `temperature`, `at_once` episodes at a time.

    `eval/em/<suite>`, `eval/f1/<suite>` and `eval/lenient/<suite>` are greedy, `eval/em_sampled/<suite>` means over
    samples; `eval/em` and `eval/em_sampled` are means over suites, each suite counting the same. Others are over all
    episodes. Several `workers` divide the questions, and each is given the whole result.
    """
    questions = [q for asked in suites.values() for q in asked]
    seeds = [EVALUATION_SEED + i for i in range(len(questions))]
    greedy = _play(engine, environment, questions, seeds, 0.0, at_once, workers)
    metrics = {f"eval/{k}": v for k, v in episode_metrics(greedy).items()}
    sampled: list[Trajectory] = []
    if samples:
        repeated = [q for q in questions for _ in range(samples)]
        seeds = [EVALUATION_SEED + i for i in range(len(repeated))]
        sampled = _play(engine, environment, repeated, seeds, temperature, at_once, workers)
        metrics |= {f"eval_sampled/{k}": v for k, v in episode_metrics(sampled).items()}
    for name, episodes in (("em", greedy), ("em_sampled", sampled), ("f1", greedy), ("lenient", greedy)):
        if episodes:
            metrics |= _by_suite(f"eval/{name}", episodes, name.removesuffix("_sampled"), suites)
    return Evaluation(metrics, tuple(greedy), tuple(sampled))


@dataclass(frozen=True, slots=True)
class Variants:
    """Evaluations beside the ordinary one; `episodes` by split, greedy, one a question."""

    metrics: dict[str, float]
    episodes: dict[str, tuple[Trajectory, ...]]


def evaluate_all(
    engine: Engine,
    environment: Environment,
    environments: Mapping[str, Environment],
    suites: Mapping[str, Sequence[Question]],
    samples: int,
    temperature: float,
    at_once: int,
    workers: Collective = ALONE,
) -> tuple[Evaluation, Variants]:
    """The ordinary evaluation, and those in further `environments`."""
    done = evaluate(engine, environment, suites, samples, temperature, at_once, workers)
    return done, evaluate_variants(engine, environments, suites, done.greedy, at_once, workers)


def evaluate_variants(
    engine: Engine,
    environments: Mapping[str, Environment],
    suites: Mapping[str, Sequence[Question]],
    greedy: Sequence[Trajectory],
    at_once: int,
    workers: Collective = ALONE,
) -> Variants:
    """Play the questions of the ordinary evaluation, whose episodes `greedy` are, in further environments, by split.

    Metrics are named after the split: those of `episode_metrics`, and `…/em`, `…/lenient` as in `evaluate`.
    Of FAULTED also `fault_metrics`. Its twins are `greedy`: equal questions and sampling seeds, so each pair is the
    same up to its first fault; they are kept as the split TWIN.
    """
    questions = [t.question for t in greedy]
    seeds = [t.sample_seed for t in greedy]
    metrics: dict[str, float] = {}
    episodes: dict[str, tuple[Trajectory, ...]] = {}
    for split, environment in environments.items():
        played = _play(engine, environment, questions, seeds, 0.0, at_once, workers)
        episodes[split] = tuple(played)
        metrics |= {f"{split}/{k}": v for k, v in episode_metrics(played).items()}
        for field in ("em", "lenient"):
            metrics |= _by_suite(f"{split}/{field}", played, field, suites)
        if split == FAULTED:
            episodes[TWIN] = tuple(greedy)
            metrics |= {f"{split}/{k}": v for k, v in fault_metrics(played, greedy).items()}
    return Variants(metrics, episodes)


def fault_metrics(faulted: Sequence[Trajectory], twins: Sequence[Trajectory]) -> dict[str, float]:
    """What injected faults did, over pairs of a faulted episode and its twin.

    struck: share of episodes with a fault; exposed: share whose policy read one and took a further turn. Over exposed
    episodes, if there are any: detected, accepted (of the first fault, as `harness.env.fault_detection` defines them),
    detected_twin (base rate of detected: the twin doubts the true observation), recovered (right all the same), em_twin
    (right without the fault), effect (recovered - em_twin).
    """
    readings = [read_faults(t) for t in faulted]
    exposed = [
        (first, t.reward.em, twin.reward.em, fires_without_fault(twin, t, first.turn))
        for found, t, twin in zip(readings, faulted, twins, strict=True)
        if (first := next((r for r in found if r.exposed), None)) is not None
    ]
    metrics = {
        "struck": sum(any(turn.faults for turn in t.turns) for t in faulted) / len(faulted),
        "exposed": len(exposed) / len(faulted),
    }
    if not exposed:
        return metrics
    recovered, twin_em = (float(np.mean([pair[i] for pair in exposed])) for i in (1, 2))
    return metrics | {
        "detected": sum(r.response is Response.DETECTED for r, *_ in exposed) / len(exposed),
        "detected_twin": sum(fires for *_, fires in exposed) / len(exposed),
        "accepted": sum(r.response is Response.ACCEPTED for r, *_ in exposed) / len(exposed),
        "recovered": recovered,
        "em_twin": twin_em,
        "effect": recovered - twin_em,
    }


def _by_suite(
    name: str, episodes: Sequence[Trajectory], field: str, suites: Mapping[str, Sequence[Question]]
) -> dict[str, float]:
    """`name/<suite>`: the mean of a reward's `field`; `name`: the mean over suites."""
    means = {
        f"{name}/{suite}": float(np.mean([getattr(t.reward, field) for t in episodes if t.question.suite == suite]))
        for suite in suites
    }
    return means | {name: float(np.mean(list(means.values())))}


def _play(
    engine: Engine,
    environment: Environment,
    questions: Sequence[Question],
    seeds: Sequence[int],
    temperature: float,
    at_once: int,
    workers: Collective,
) -> list[Trajectory]:
    mine = share(workers, list(zip(questions, seeds, strict=True)))
    played: list[Trajectory] = []
    for i in range(0, len(mine), at_once):
        part = mine[i : i + at_once]
        played += rollout(engine, environment, [q for q, _ in part], [seed for _, seed in part], temperature)
    return reunite(workers, played)
