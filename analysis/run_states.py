"""What the spread between runs consists of: evaluation noise, two states of runs, and seeds' own differences.

`run_states` names a mixture where evaluations of all runs fall into two states (a run either has found a strategy or
has not): an arm's mean then mixes the share of runs on the upper state with its level, and speed with both.
`evaluation_noise` gives the part of the spread that coin flips on each question explain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.convergence import seed_curves
from analysis.episode_frames import Episodes
from analysis.frames import Frames
from analysis.outcome import metric_outcome
from analysis.stats.curves import time_to_threshold
from analysis.stats.noise import NoiseSplit, split_noise
from analysis.stats.permutation import mean_interval
from analysis.stats.proportions import wilson
from analysis.stats.two_states import TwoStates, fit_two_states
from analysis.stats.types import DegenerateInput, Estimate


@dataclass(frozen=True, slots=True)
class ArmStates:
    """An arm's runs by state: share on the upper one at the last step (Wilson interval), evaluated step at which the
    lower one was left (mean over runs, t interval; runs that never left it count as the last step), and how many
    never left it."""

    arm: str
    runs: int
    upper: Estimate
    left_at: Estimate
    never: int


@dataclass(frozen=True, slots=True)
class RunStates:
    """The two states of a metric over all runs of a study, and each arm's runs in them."""

    metric: str
    last_step: int
    fit: TwoStates
    arms: tuple[ArmStates, ...]

    def table(self) -> pd.DataFrame:
        """One row an arm: runs, share on the upper state, step of leaving the lower one, runs that never did."""
        return pd.DataFrame(
            [
                {
                    "arm": a.arm,
                    "runs": a.runs,
                    "upper": number_or_blank(a.upper.value),
                    **interval_columns(a.upper, "upper_"),
                    "left_at": _steps(a.left_at),
                    "never": a.never,
                }
                for a in self.arms
            ]
        )

    def sentence(self, named: Sequence[str]) -> str:
        """The mixture in words, with the counts on the upper state and the times of the arms `named`."""
        name = metric_outcome(self.metric)
        counts = "; ".join(
            f"{a.arm} {round((a.upper.value or 0.0) * a.runs)} of {a.runs} runs, which left the lower one at step "
            f"{_steps(a.left_at)}"
            for a in self.arms
            if a.arm in named
        )
        return (
            f"{name.name} of runs has two states, around {name.amount(self.fit.low, signed=False)} and "
            f"{name.amount(self.fit.high, signed=False)}. On the upper one at step {self.last_step}: {counts}. "
            "A difference of means mixes that share, that time and the level of the upper state."
        )


def run_states(frames: Frames, metric: str) -> RunStates | None:
    """Two states of the evaluations after the start of all runs together. None where one state describes them, where no
    arm was seen in both (then they are a difference between arms), or where trials share no step of the metric."""
    curves = seed_curves(frames, metric)
    after = [curve[curve.index > 0] for runs in curves.values() for curve in runs.values()]
    values = np.concatenate([c.to_numpy(dtype=float) for c in after]) if after else np.empty(0)
    fit = fit_two_states(values) if values.size else None
    if fit is None:
        return None
    arms_seen = [{bool(v > fit.threshold) for c in runs.values() for v in c[c.index > 0]} for runs in curves.values()]
    if not any(len(seen) == 2 for seen in arms_seen):
        return None
    last = int(after[0].index[-1])
    arms = []
    for arm, runs in curves.items():
        ends = [float(c.iloc[-1]) > fit.threshold for c in runs.values()]
        times = [time_to_threshold(c.index, c, fit.threshold) for c in runs.values()]
        arms.append(
            ArmStates(
                arm,
                len(runs),
                wilson(sum(ends), len(ends)),
                mean_interval([t.time for t in times]),
                sum(not t.reached for t in times),
            )
        )
    return RunStates(metric, last, fit, tuple(arms))


def _steps(estimate: Estimate) -> str:
    """ "9.4 [6.1, 12.8]"."""
    found = estimate.interval
    return f"{estimate.value:.1f}" + (f" [{found.low:.1f}, {found.high:.1f}]" if found else "")


MORE_QUESTIONS = 700
"""Number of questions for which the noise is given beside the study's own."""


def evaluation_noise(greedy: Episodes, level: float = 0.95) -> dict[str, NoiseSplit]:
    """Arm → split of its runs' spread in mean EM over suites. Arms with fewer than three runs are left out."""
    out = {}
    for arm, rows in greedy.episodes.groupby("arm", observed=True):
        answers = rows.pivot_table(index="seed", columns=["suite", "question"], values="em", observed=True).dropna(
            axis=1
        )
        suites = answers.columns.get_level_values("suite")
        sizes = suites.value_counts()
        weights = np.array([1 / sizes[s] / len(sizes) for s in suites])
        try:
            out[str(arm)] = split_noise(answers.to_numpy(dtype=float), weights, level)
        except DegenerateInput:
            continue
    return out


def noise_table(found: Mapping[str, NoiseSplit]) -> pd.DataFrame:
    """One row an arm: total SD of runs, coin-flip SD at these questions and at MORE_QUESTIONS, SD of seeds' own."""
    return pd.DataFrame(
        [
            {
                "arm": arm,
                "runs": s.seeds,
                "questions": s.questions,
                "total_sd": s.total,
                "noise_sd": s.noise,
                f"noise_sd_at_{MORE_QUESTIONS}": s.noise_at(MORE_QUESTIONS),
                "seed_sd": s.seed,
                "seed_low": s.seed_interval.low,
                "seed_high": s.seed_interval.high,
            }
            for arm, s in found.items()
        ]
    )


def noise_sentence(found: Mapping[str, NoiseSplit], named: Sequence[str]) -> str:
    """What of the spread coin flips explain, of the arms `named`; "" for none of them."""
    found = {arm: found[arm] for arm in named if arm in found}
    if not found:
        return ""
    questions = max(s.questions for s in found.values())
    parts = [f"{arm} {100 * s.noise:.1f} of {100 * s.total:.1f}" for arm, s in found.items()]
    alone = [arm for arm, s in found.items() if s.noise_explains]
    text = f"Evaluation noise (a coin flip a question, {questions} questions), SD in points of the SD between runs: "
    text += f"{', '.join(parts)}."
    if alone:
        text += f" In {', '.join(alone)} the spread shows nothing beyond these coin flips."
    if questions < MORE_QUESTIONS:
        text += f" With {MORE_QUESTIONS}: at most {100 * max(s.noise_at(MORE_QUESTIONS) for s in found.values()):.2f}."
    return text
