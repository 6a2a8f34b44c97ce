"""Power and precision by outcome: the spread over seeds of each registrable outcome, and the seeds a difference needs.

Before a study the spread is that of pilots (finished studies of the same or a like contrast), after it the study's own.
Outcomes are compared at equal differences. The area under a curve is a mean over steps, so where arms part late their
areas differ by less than their ends.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from analysis.compare import number_or_blank
from analysis.frames import Frames
from analysis.outcome import metric_outcome
from analysis.random_factors import at_random_levels
from analysis.registered_plan import AnalysisPlan, contrasts
from analysis.seed_outcomes import final_step, outcome_values, paired_outcomes
from analysis.stats.ancova import pair_variance
from analysis.stats.power import detectable_difference, difference_df, seeds_by_normal_law, seeds_for_difference

EFFECTS = (0.006, 0.010, 0.016)
"""Differences that seeds are counted for: the range of the published mean differences (GSsPO against GRPO)."""
FEWEST_SEEDS = 5
"""A pilot with fewer seeds an arm gives no spread to plan with."""


@dataclass(frozen=True, slots=True)
class RegistrableOutcome:
    """A metric at the last step or as area under its curve, compared by unpaired seeds or by pairs of them. `adjusted`:
    pairs, for the metric at the checkpoint that they branch from."""

    metric: str
    over: str = "last"
    paired: bool = False
    adjusted: bool = False

    @property
    def name(self) -> str:
        """E.g. "EM of sampled answers, area under the curve, paired by seed"."""
        place = "area under the curve" if self.over == "area" else "last step"
        pairs = "paired by seed" if self.paired else "unpaired"
        start = ", adjusted for the checkpoint" if self.adjusted else ""
        return f"{metric_outcome(self.metric).name}, {place}, {pairs}{start}"


REGISTRABLE_OUTCOMES = (
    RegistrableOutcome("eval/em"),
    RegistrableOutcome("eval/em", "area", True),
    *(
        RegistrableOutcome(f"eval_sampled/{score}", over, True)
        for score in ("em", "f1", "reward_mean")
        for over in ("last", "area")
    ),
)
"""Outcomes that every study with sampled evaluations logs, from the one registered most often on."""


@dataclass(frozen=True, slots=True)
class PilotContrast:
    """Two arms of a finished study."""

    frames: Frames
    treatment: str
    baseline: str


@dataclass(frozen=True, slots=True)
class OutcomePower:
    """Spread of an outcome and what it permits. `sd`: SD of what one seed adds to the difference of two arms (of a
    pair's difference, or √(var a + var b)), in the metric's unit. `seeds`: pairs, or seeds of the smaller arm, behind
    it. `needed`, `by_normal_law`: seeds for each of EFFECTS at 80 % power."""

    outcome: RegistrableOutcome
    sd: float
    seeds: int
    needed: tuple[int, ...]
    by_normal_law: tuple[int, ...]

    def half_width(self, level: float = 0.95) -> float:
        """Half-width of the t interval of the difference at `seeds`: the precision attained."""
        df = difference_df(self.seeds, self.outcome.paired, int(self.outcome.adjusted))
        return float(stats.t.ppf(0.5 + level / 2, df)) * self.sd / math.sqrt(self.seeds)

    def detectable(self, seeds: int, alpha: float = 0.05) -> float | None:
        """Difference found with a power of 80 % by so many seeds; None where none can be significant."""
        return detectable_difference(self.sd, seeds, self.outcome.paired, alpha, covariates=int(self.outcome.adjusted))


def registered_outcome(plan: AnalysisPlan) -> RegistrableOutcome:
    """The outcome of a plan."""
    return RegistrableOutcome(plan.metric, plan.over, plan.paired, plan.adjusted)


def outcome_power(
    pilots: Sequence[PilotContrast], outcome: RegistrableOutcome, alpha: float = 0.05, fewest: int = FEWEST_SEEDS
) -> OutcomePower | None:
    """Power of one outcome at the spread of `pilots`: the mean over studies of the variance within each, as studies
    differ in their means and a few late runs should not weigh by the size of their study. Studies without the metric,
    or with less than `fewest` seeds, are left out; None where none is left or no seed differs."""
    found = [spread for p in pilots if (spread := _spread(p, outcome, fewest)) is not None]
    variance = float(np.mean([v for v, _ in found])) if found else 0.0
    if variance <= 0:
        return None
    sd = math.sqrt(variance)
    return OutcomePower(
        outcome,
        sd,
        sum(n for _, n in found),
        tuple(
            seeds_for_difference(effect, sd, outcome.paired, alpha, covariates=int(outcome.adjusted))
            for effect in EFFECTS
        ),
        tuple(seeds_by_normal_law(effect, sd, alpha) for effect in EFFECTS),
    )


def _spread(pilot: PilotContrast, outcome: RegistrableOutcome, fewest: int) -> tuple[float, int] | None:
    """(variance of what one seed adds to the difference, seeds) in one study. Of an adjusted outcome in a study whose
    arms do not branch: that of the pairs, which is an upper bound."""
    frames, metric = pilot.frames, outcome.metric
    if not frames.metrics["metric"].eq(metric).any():
        return None
    plan = AnalysisPlan(metric, over=outcome.over, paired=outcome.paired, adjusted=outcome.adjusted)
    step = final_step(frames, metric)
    if outcome.paired:
        differences, start = paired_outcomes(frames, plan, metric, (pilot.treatment, pilot.baseline), step)
        variance, df = pair_variance(differences, start)
        return (variance, len(differences)) if len(differences) >= fewest and df else None
    values = outcome_values(frames, plan, metric, step)
    a, b = values.get(pilot.treatment), values.get(pilot.baseline)
    if a is None or b is None or min(len(a), len(b)) < fewest:
        return None
    return float(a.var(ddof=1) + b.var(ddof=1)), min(len(a), len(b))


def power_by_outcome(
    pilots: Sequence[PilotContrast],
    plan: AnalysisPlan,
    logged: Collection[str] | None = None,
    fewest: int = FEWEST_SEEDS,
) -> list[OutcomePower]:
    """Power of the plan's outcome, first, and of REGISTRABLE_OUTCOMES that are among `logged` (None: all). Where the
    plan adjusts for a checkpoint, or all pilots have one, that of adjusted pairs too: what ANCOVA gains."""
    registered = registered_outcome(plan)
    branched = plan.adjusted or (bool(pilots) and all(p.frames.config.get("branch") for p in pilots))
    listed = [registered, replace(registered, adjusted=False), *REGISTRABLE_OUTCOMES]
    if branched:
        listed += [replace(o, adjusted=True) for o in listed if o.paired]
    others = [o for o in dict.fromkeys(listed[1:]) if o != registered and (logged is None or o.metric in logged)]
    found = [outcome_power(pilots, outcome, plan.alpha, fewest) for outcome in (registered, *others)]
    return [power for power in found if power is not None]


def more_sensitive(found: Sequence[OutcomePower], plan: AnalysisPlan) -> OutcomePower | None:
    """The outcome that needs fewest seeds for the largest of EFFECTS, where the registered one needs more; else None,
    also where the spread of the registered one is unknown."""
    registered = next((p for p in found if p.outcome == registered_outcome(plan)), None)
    if registered is None:
        return None
    best = min(found, key=lambda p: p.sd)
    return best if best.needed[-1] < registered.needed[-1] else None


def own_contrasts(frames: Frames, plan: AnalysisPlan) -> list[PilotContrast]:
    """The registered contrast of a study in each of its strata, or without one all contrasts. None for two crossed
    random factors, where no number of seeds stands for the precision."""
    frames, plan = at_random_levels(frames, plan)
    if plan.crossed is not None:
        return []
    pairs = contrasts(frames, plan)
    chosen = [c for c in pairs if c.confirmatory] or pairs
    return [PilotContrast(frames, c.treatment, c.baseline) for c in chosen]


def precision_table(found: Sequence[OutcomePower], plan: AnalysisPlan) -> pd.DataFrame:
    """One row an outcome: SD, seeds, attained half-width, detectable difference, seeds needed. Metric's own unit."""
    return pd.DataFrame(
        [
            {
                "outcome": p.outcome.name + (" (registered)" if p.outcome == registered_outcome(plan) else ""),
                "seeds": p.seeds,
                "sd": p.sd,
                "half_width": p.half_width(plan.level),
                "detectable": number_or_blank(p.detectable(p.seeds, plan.alpha)),
                "needed": seed_counts(p.needed),
                "needed_normal": seed_counts(p.by_normal_law),
            }
            for p in found
        ]
    )


def seed_counts(counts: Sequence[int]) -> str:
    """ "634 / 228 / 90"."""
    return " / ".join(map(str, counts))


def effect_points() -> str:
    """EFFECTS in points: "0.6 / 1.0 / 1.6"."""
    return " / ".join(f"{100 * e:.1f}" for e in EFFECTS)


def pilot_sentences(found: Sequence[OutcomePower], plan: AnalysisPlan, seeds: int, source: str) -> list[str]:
    """Sentences of a dry run: power of the registered outcome with `seeds`, and a warning where another needs fewer.

    `source` names the pilots.
    """
    registered = next((p for p in found if p.outcome == registered_outcome(plan)), None)
    if registered is None:
        return [f"power by outcome: {source} did not log {plan.metric}, or with fewer than {FEWEST_SEEDS} seeds"]
    reach = registered.detectable(seeds, plan.alpha)
    shown = f"{100 * reach:.1f} points" if reach is not None else "no difference"
    out = [
        f"power by outcome, from {source}: {registered.outcome.name}: SD of one seed's difference "
        f"{100 * registered.sd:.1f} points; "
        f"{seeds} seeds find {shown} with a power of 80 %; {effect_points()} points need "
        f"{seed_counts(registered.needed)} seeds"
    ]
    best = more_sensitive(found, plan)
    if best is not None:
        over = ", over: area" if best.outcome.over == "area" else ""
        pairs = ", paired: true" if best.outcome.paired else ""
        pairs += ", adjusted: true" if best.outcome.adjusted else ""
        out.append(
            f"warning: a more sensitive outcome is logged: {best.outcome.name} needs {seed_counts(best.needed)} seeds "
            f"at equal differences (primary: {{metric: {best.outcome.metric}{over}}}{pairs})"
        )
    return out
