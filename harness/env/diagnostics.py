"""Diagnostics of a batch of episodes: rates and loops that precede or explain a failure of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np

from harness.operators.llm.knowledge_base import words
from harness.types import ActionKind, Group, ParseFailure, Trajectory, Turn

LOOP = 3
"""Length in turns of a run that counts as a loop."""
WINDOW = 16
"""Steps in a running median."""
MIN_HISTORY = 4
"""Least number of earlier steps for a cliff or a spike: a median of fewer is unreliable."""
CLIFF_FRACTION = 0.25
"""A batch's reward variance below this fraction of its running median is a cliff."""
SPIKE_MULTIPLE = 4.0
"""A gradient norm above this multiple of its running median is a spike."""


def episode_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Means over episodes (rates in [0, 1] unless noted).

    reward_mean; em, f1, lenient; format_ok: no failure in the episode; parse_ok_rate: share of *turns* without one;
    no_answer; wrong_order: a turn acted before it thought; operator_loop, warning_loop: three or more failed calls
    (format warnings) in a row; repeat_loop: the same call three times in a row; lazy: well formed, wrong, no call at
    all; calls, turns, tokens: numbers an episode; operator_diversity: entropy of the operators called (nats).
    """
    n = len(trajectories)
    turns = [t for e in trajectories for t in e.turns]
    called = [operator for t in turns for operator in operators_called(t)]
    counts = np.unique(called, return_counts=True)[1] if called else np.ones(1)
    shares = counts / counts.sum()
    return {
        "reward_mean": float(np.mean([e.reward.total for e in trajectories])),
        "em": float(np.mean([e.reward.em for e in trajectories])),
        "f1": float(np.mean([e.reward.f1 for e in trajectories])),
        "lenient": float(np.mean([e.reward.lenient for e in trajectories])),
        "format_ok": sum(not e.failures for e in trajectories) / n,
        "parse_ok_rate": sum(t.parsed.well_formed for t in turns) / len(turns),
        "no_answer": sum(ParseFailure.NO_ANSWER in e.failures for e in trajectories) / n,
        "wrong_order": sum(ParseFailure.WRONG_ORDER in e.failures for e in trajectories) / n,
        "operator_loop": sum(longest_run([failed_call(t) for t in e.turns]) >= LOOP for e in trajectories) / n,
        "warning_loop": sum(longest_run([t.parsed.action is None for t in e.turns]) >= LOOP for e in trajectories) / n,
        "repeat_loop": sum(repeated_calls(e) >= LOOP for e in trajectories) / n,
        "lazy": sum(is_lazy(e) for e in trajectories) / n,
        "calls": len(called) / n,
        "turns": len(turns) / n,
        "tokens": sum(e.n_policy_tokens for e in trajectories) / n,
        "operator_diversity": float(-(shares * np.log(shares)).sum()) + 0.0,
    }


def group_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """reward_std: mean over groups of their rewards' standard deviation (ddof 1); zero_variance: share of groups
    whose rewards are all equal (no gradient); reward_variance: over all episodes of the batch."""
    stds = [float(np.std(g.rewards, ddof=1)) if len(g.rewards) > 1 else 0.0 for g in groups]
    return {
        "reward_std": float(np.mean(stds)),
        "zero_variance": sum(np.ptp(g.rewards) == 0 for g in groups) / len(groups),
        "reward_variance": float(np.var(np.concatenate([g.rewards for g in groups]))),
    }


@dataclass(frozen=True, slots=True)
class RunningSignatures:
    """Reward variances and gradient norms of the last `WINDOW` steps, oldest first: the reference for sudden changes.

    A step is compared with the steps before it, then joins them; a change that lasts becomes the new normal after half
    a window. A batch without any gradient (norm 0: every group's rewards equal) joins the variances only, because a
    median of such zeros would call each later gradient a spike.
    """

    reward_variances: tuple[float, ...] = ()
    grad_norms: tuple[float, ...] = ()

    def observe(self, reward_variance: float, grad_norm: float) -> tuple[RunningSignatures, dict[str, float]]:
        """The state after this step, and `train/reward_variance_cliff`, `update/grad_spike`, each 0 or 1.

        A gradient norm that is not finite is a spike whatever the history, and does not enter it.
        """
        variances, norms = self.reward_variances, self.grad_norms
        cliff = len(variances) >= MIN_HISTORY and reward_variance < CLIFF_FRACTION * median(variances)
        finite = bool(np.isfinite(grad_norm))
        spike = not finite or (len(norms) >= MIN_HISTORY and grad_norm > SPIKE_MULTIPLE * median(norms))
        state = RunningSignatures(
            (*variances, float(reward_variance))[-WINDOW:],
            (*norms, float(grad_norm))[-WINDOW:] if finite and grad_norm > 0 else norms,
        )
        return state, {"train/reward_variance_cliff": float(cliff), "update/grad_spike": float(spike)}

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, for a checkpoint as JSON."""
        return {"reward_variances": list(self.reward_variances), "grad_norms": list(self.grad_norms)}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Sequence[float]]) -> RunningSignatures:
        return cls(tuple(saved["reward_variances"]), tuple(saved["grad_norms"]))


NOTABLE = {
    "no_gradient": "update/skipped_share",  # no group's rewards differ (and no KL term): nothing was learned
    "reward_variance_cliff": "train/reward_variance_cliff",
    "grad_spike": "update/grad_spike",
}
"""Kind of event → the metric that is 1 at a step where it happened."""


def notable(values: Mapping[str, float]) -> list[str]:
    """Kinds of NOTABLE events at a step with these metrics, in its order."""
    return [kind for kind, name in NOTABLE.items() if values.get(name) == 1]


def operators_called(turn: Turn) -> tuple[str, ...]:
    """Operators that a turn called, in order: at most one, or as many as its program did."""
    action = turn.parsed.action
    if action is not None and action.kind is ActionKind.TOOL:
        return (action.operator or "",)
    return tuple(call.operator for call in turn.program_calls)


def longest_run(flags: Sequence[bool]) -> int:
    """Length of the longest run of True."""
    best = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        best = max(best, run)
    return best


def failed_call(turn: Turn) -> bool:
    """An executed operator call that failed."""
    return turn.parsed.action is not None and turn.result is not None and turn.result.failure is not None


def repeated_calls(trajectory: Trajectory) -> int:
    """Length of the longest run of identical operator calls (or programs) in successive turns (0: none)."""
    calls = [
        (a.operator, a.text.strip()) if (a := t.parsed.action) and a.kind is not ActionKind.ANSWER else None
        for t in trajectory.turns
    ]
    if not any(calls):
        return 0
    return 1 + longest_run([a is not None and a == b for a, b in pairwise(calls)])


def is_lazy(trajectory: Trajectory) -> bool:
    """Well formed, wrong, and without a single call."""
    called = any(operators_called(t) for t in trajectory.turns)
    return not trajectory.failures and trajectory.reward.em < 1 and not called


@dataclass(frozen=True, slots=True)
class Loop:
    """`repeats` times the same block of `period` calls, from turn `start` on."""

    start: int
    period: int
    repeats: int


def loops(trajectory: Trajectory, least: int = 3, longest: int = 3) -> tuple[Loop, ...]:
    """Runs in which the same 1 to `longest` calls follow each other at least `least` times; they do not overlap.

    Calls are equal if operator and input words are; a turn without an executable call is equal to its like (the same
    malformed turn again and again is a loop too). `Search: a`, `Search: a`, `Search: a` is one of period 1.
    """
    keys = [_call_key(turn) for turn in trajectory.turns]
    found: list[Loop] = []
    start = 0
    while start < len(keys):
        loop = next((lo for p in range(1, longest + 1) if (lo := _loop_at(keys, start, p)).repeats >= least), None)
        if loop is None:
            start += 1
        else:
            found.append(loop)
            start += loop.period * loop.repeats
    return tuple(found)


def _loop_at(keys: Sequence[object], start: int, period: int) -> Loop:
    block, repeats, at = keys[start : start + period], 0, start
    while len(block) == period and keys[at : at + period] == block:
        repeats, at = repeats + 1, at + period
    return Loop(start, period, repeats)


def _call_key(turn: Turn) -> tuple[str, tuple[str, ...]]:
    action = turn.parsed.action
    if action is None:
        return "", words(turn.parsed.text)
    return action.operator or action.kind.value, words(action.text)
