"""Scores by suite and by hops with intervals, and differences on the same questions.

Intervals are over questions: they describe this policy on such questions, not the algorithm that trained it, which
needs several seeds (`python -m harness.sweep`, `reports.build`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.proportions import mcnemar, paired_table
from analysis.stats.strata import stratified_difference, stratified_mean
from analysis.stats.types import Estimate, Test
from harness.env.diagnostics import operators_called
from harness.evaluation.play import GREEDY, SAMPLED
from harness.types import Trajectory

EVERYTHING = "all suites"


@dataclass(frozen=True, slots=True)
class Score:
    """Scores of one answerer on some of the questions. `scope` is suite, hops or all; `em`, `f1`, `lenient` are means
    with intervals (over suites, each weighing the same, where there are several); the rest are means an episode."""

    answerer: str
    mode: str
    scope: str
    name: str
    questions: int
    episodes: int
    em: Estimate
    f1: Estimate
    lenient: Estimate
    reward: float
    format_ok: float
    calls: float
    operator_tokens: float
    operator_failures: float
    struck: int
    """Episodes that met an injected fault."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """EM of `answerer` minus that of `against` on the same questions, greedy or in a variant (`mode`)."""

    mode: str
    answerer: str
    against: str
    em: Estimate
    test: Test
    exact: Test
    """McNemar's test, with equal weight for every question."""


def score(answerer: str, mode: str, episodes: Sequence[Trajectory], level: float) -> Iterator[Score]:
    """All suites, then each, then each number of hops that is known. Nothing without episodes."""
    if not episodes:
        return
    yield _score(answerer, mode, "all", EVERYTHING, episodes, level)
    for suite in dict.fromkeys(e.question.suite for e in episodes):
        yield _score(answerer, mode, "suite", suite, [e for e in episodes if e.question.suite == suite], level)
    for hops in sorted({e.question.hops for e in episodes if e.question.hops is not None}):
        part = [e for e in episodes if e.question.hops == hops]
        yield _score(answerer, mode, "hops", str(hops), part, level)


def contrast(
    mode: str, answerer: str, against: str, a: Sequence[Trajectory], b: Sequence[Trajectory], level: float
) -> Contrast | None:
    """None where the two did not answer the same questions, in the same order."""
    if [e.question.id for e in a] != [e.question.id for e in b] or len(a) < 2:
        return None
    x, y = [e.reward.em for e in a], [e.reward.em for e in b]
    em, test = stratified_difference(x, y, [e.question.suite for e in a], level)
    return Contrast(mode, answerer, against, em, test, mcnemar(paired_table(x, y)))


def metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Under the names of a trial's own evaluation (`eval/em`, `eval/em/<suite>`, `eval/em_sampled/<suite>`, …), with
    interval ends as `eval/em_low/<suite>`; by hops as `eval_hops/em/<hops>`, so that hops are not taken for suites."""
    values: dict[str, float] = {}
    for s in scores:
        sampled = "_sampled" if s.mode == SAMPLED else ""
        evaluated = "eval" if s.mode in (GREEDY, SAMPLED) else s.mode
        root = f"{evaluated}_hops" if s.scope == "hops" else evaluated
        place = "" if s.scope == "all" else f"/{s.name}"
        for name in ("em", "f1", "lenient"):
            estimate: Estimate = getattr(s, name)
            values[f"{root}/{name}{sampled}{place}"] = float(estimate.value or 0.0)
            if name == "em" and estimate.interval is not None:
                values[f"{root}/em{sampled}_low{place}"] = estimate.interval.low
                values[f"{root}/em{sampled}_high{place}"] = estimate.interval.high
        if s.scope == "all":
            values |= {
                f"{evaluated}{sampled}/reward_mean": s.reward,
                f"{evaluated}{sampled}/format_ok": s.format_ok,
                f"{evaluated}{sampled}/calls": s.calls,
                f"{evaluated}{sampled}/operator_tokens": s.operator_tokens,
                f"{evaluated}{sampled}/operator_failures": s.operator_failures,
            }
    return values


def _score(answerer: str, mode: str, scope: str, name: str, episodes: Sequence[Trajectory], level: float) -> Score:
    ids = [e.question.id for e in episodes]
    # questions of so many hops are one set, whatever suites they come from
    strata = [e.question.suite if scope == "all" else name for e in episodes]

    def estimate(field: str) -> Estimate:
        return stratified_mean([getattr(e.reward, field) for e in episodes], strata, ids, level)

    calls = [list(e.calls) for e in episodes]
    return Score(
        answerer,
        mode,
        scope,
        name,
        len(set(ids)),
        len(ids),
        estimate("em"),
        estimate("f1"),
        estimate("lenient"),
        float(np.mean([e.reward.total for e in episodes])),
        float(np.mean([not e.failures for e in episodes])),
        float(np.mean([sum(len(operators_called(t)) for t in e.turns) for e in episodes])),
        float(np.mean([sum(c.prompt_tokens + c.completion_tokens for c in called) for called in calls])),
        float(np.mean([sum(c.failure is not None for c in called) for called in calls])),
        sum(any(turn.faults for turn in e.turns) for e in episodes),
    )
