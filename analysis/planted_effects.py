"""The assay of a study: the share of planted effects that its design detects, beside the verdict.

    analysis:
      assay: {effect: -0.05, handicap: {objective.credit_shuffle: 0.5}, at_least: 0.8}

`effect` is planted in simulated studies: seed means with the spread of the study's (or a pilot's) seeds, as many seeds
as planned, tested as the primary contrast is. The share of significant results on the effect's side is the detection
rate. With a `handicap` the effect is also planted in real trials: the baseline with the handicap's settings must differ
from the baseline on that side, the baseline with other random streams (the placebo) must not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.check_result import CheckResult
from analysis.compare import Comparison, compare_arms, format_p, interval_columns, number_or_blank
from analysis.frames import Frames
from analysis.outcome import outcome_of
from analysis.projected_power import outcome_sd
from analysis.random_factors import at_random_levels
from analysis.registered_plan import AnalysisPlan, contrasts
from analysis.seed_outcomes import checkpoint_values, final_step, outcome_values
from analysis.stats.ancova import adjusted_difference
from analysis.stats.permutation import seed_permutation, smallest_p
from analysis.stats.power import difference_power, seed_power
from analysis.stats.types import DegenerateInput
from harness.config.assay import HANDICAP, PLACEBO

FEW_PAIRS = 12
"""Up to so many pairs the sign-flip test is simulated; with more it has the power of the t test of pairs."""


def detection_rate(effect: float, sd: float, seeds: int, plan: AnalysisPlan, draws: int = 1000) -> float:
    """Share of studies of `seeds` seeds an arm in which the plan's test finds `effect`; of a placebo for 0.

    `sd`: between seeds of an arm, or of the differences of seed pairs where the plan pairs them, as far as an
    adjustment for their checkpoint leaves it; normal. Few seeds are
    simulated with a fixed stream (standard error at most .016), more have the power of the t test. Raises
    DegenerateInput without spread.
    """
    if sd <= 0:
        raise DegenerateInput("the SD over seeds must be positive")
    if not plan.paired:
        return seed_power(abs(effect), sd, seeds, plan.alpha)
    if seeds > FEW_PAIRS:
        return difference_power(abs(effect), sd, seeds, True, plan.alpha, int(plan.adjusted))
    if smallest_p(seeds, seeds, paired=True) > plan.alpha:
        return 0.0
    rng, zeros = np.random.default_rng(0), np.zeros(seeds)
    differences = rng.normal(effect, sd, (draws, seeds))
    if plan.adjusted:
        starts = rng.normal(0, 1, (draws, seeds))
        tests = (adjusted_difference(d, zeros, x, x, paired=True)[1] for d, x in zip(differences, starts, strict=True))
    else:
        tests = (seed_permutation(d, zeros, paired=True) for d in differences)
    return sum(test.rejects(plan.alpha) for test in tests) / draws


def contrast_spread(frames: Frames, plan: AnalysisPlan) -> float:
    """SD over seeds of the registered outcome in the contrasted arms, or of the differences of their seed pairs.

    Raises DegenerateInput where there are too few seeds, or no value of the metric.
    """
    try:
        sd, _ = outcome_sd(frames, plan, plan.metric)
    except (KeyError, ValueError) as error:
        raise DegenerateInput(str(error)) from error
    return sd * math.sqrt(2) if plan.paired else sd


def _outcomes(frames: Frames, plan: AnalysisPlan) -> dict[str, pd.Series]:
    """Arm → one value a seed of the registered outcome over all suites; an empty series where it has none."""
    try:
        found = outcome_values(frames, plan, plan.metric, final_step(frames, plan.metric))
    except ValueError as error:
        raise DegenerateInput(str(error)) from error
    return {arm: found.get(arm, pd.Series(dtype=float)) for arm in frames.arms}


@dataclass(frozen=True, slots=True)
class AssayResult:
    """`sd`, `rate`: of simulated studies of `seeds` seeds an arm, None where the spread is unknown; `false_positives`:
    the same without an effect. `handicap`, `placebo`: the planted arms against the baseline; None where none ran."""

    plan: AnalysisPlan
    seeds: int
    sd: float | None
    rate: float | None
    false_positives: float | None
    handicap: Comparison | None
    placebo: Comparison | None

    @property
    def checks(self) -> list[CheckResult]:
        """The design detects the effect often enough, the handicap was found, the placebo was not."""
        assay = self.plan.assay
        if assay is None:
            return []
        outcome = outcome_of(self.plan)
        effect, studies = outcome.amount(assay.effect), _studies(self.seeds, self.plan)
        required = f"an effect of {effect} on {outcome.name} detected in at least {assay.at_least:.0%} of {studies}"
        if self.rate is None or self.sd is None:
            found = [CheckResult(required, None, "not measured", False)]
        else:
            shown = f"{self.rate:.0%} (simulated, SD {outcome.amount(self.sd, signed=False)})"
            found = [CheckResult(required, self.rate, shown, self.rate >= assay.at_least)]
        if assay.handicap is not None:
            side = "higher" if assay.effect > 0 else "lower"
            found += [
                _check(self.handicap, f"handicap ({assay.handicap_text}) shown to be {side}", self.plan, assay.effect),
                _check(self.placebo, "placebo not shown to differ", self.plan, 0.0),
            ]
        return found

    def table(self) -> pd.DataFrame:
        """planted, difference, low, high, seeds, p, detected: a row each for simulated and for real planted effects."""
        assay = self.plan.assay
        rows: list[dict[str, object]] = []
        if assay is None:
            return pd.DataFrame(rows, columns=_COLUMNS)
        simulated = (
            (f"{HANDICAP}, simulated", assay.effect, self.rate),
            (f"{PLACEBO}, simulated", 0.0, self.false_positives),
        )
        for name, effect, rate in simulated:
            detected = "unknown spread" if rate is None else f"{rate:.1%}"
            rows.append(
                {"planted": name, "difference": effect, "seeds": f"{self.seeds} v {self.seeds}", "detected": detected}
            )
        for name, row in ((HANDICAP, self.handicap), (PLACEBO, self.placebo)):
            if row is not None:
                shown = row.test.rejects(self.plan.alpha)
                rows.append(
                    {
                        "planted": f"{name}, {row.contrast.label}",
                        "difference": number_or_blank(row.difference.value),
                        **interval_columns(row.difference),
                        "seeds": f"{row.n_seeds[0]} v {row.n_seeds[1]}",
                        "p": number_or_blank(row.test.p),
                        "detected": "yes" if shown else "no",
                    }
                )
        return pd.DataFrame(rows, columns=_COLUMNS).fillna("")


_COLUMNS = ["planted", "difference", "low", "high", "seeds", "p", "detected"]


def run_assay(frames: Frames, plan: AnalysisPlan, planned: int | None = None) -> AssayResult | None:
    """The assay of a plan on a sweep's frames; None where the plan has none.

    `planned`: seeds an arm of the simulated studies; None: as many as the sweep lists.
    """
    assay = plan.assay
    if assay is None:
        return None
    frames, plan = at_random_levels(frames, plan)
    listed = frames.config.get("seeds")
    levels = int(frames.trials.groupby("arm")["seed"].nunique().min())
    seeds = planned or (len(listed) if isinstance(listed, list) and not plan.random else levels)
    sd = rate = chance = None
    handicap = placebo = None
    try:
        handicap, placebo = (_planted(frames, plan, arm) for arm in (HANDICAP, PLACEBO))
        sd = contrast_spread(frames, plan)
        rate, chance = (detection_rate(effect, sd, seeds, plan) for effect in (assay.effect, 0.0))
    except DegenerateInput:
        pass  # not measured, which fails the check
    return AssayResult(plan, seeds, sd, rate, chance, handicap, placebo)


def without_planted(frames: Frames, plan: AnalysisPlan) -> Frames:
    """The frames without the arms of the assay, which are no part of what the study compares."""
    if plan.assay is None or plan.axis is None:
        return frames
    kept = {label: arm for label, arm in frames.arms.items() if arm.value(plan.axis) not in (HANDICAP, PLACEBO)}
    trials, metrics = frames.trials, frames.metrics
    return replace(
        frames, arms=kept, trials=trials[trials["arm"].isin(kept)], metrics=metrics[metrics["arm"].isin(kept)]
    )


def _planted(frames: Frames, plan: AnalysisPlan, value: str) -> Comparison | None:
    """The planted arm against its baseline in the registered outcome, tested as the primary contrast is."""
    pair = next(
        (c for c in contrasts(frames, plan) if c.axis == plan.axis and frames.arms[c.treatment].value(c.axis) == value),
        None,
    )
    if pair is None:
        return None
    values = {(plan.metric, arm): found for arm, found in _outcomes(frames, plan).items()}
    covariates = {(plan.metric, arm): found for arm, found in checkpoint_values(frames, plan, plan.metric).items()}
    return next(iter(compare_arms(values, [pair], plan, covariates=covariates)), None)


def _check(row: Comparison | None, required: str, plan: AnalysisPlan, effect: float) -> CheckResult:
    """`effect` 0: the test must not be significant; else significant on its side."""
    if row is None or row.test.p is None or row.difference.value is None:
        return CheckResult(f"{outcome_of(plan).name} of the {required}", None, "not measured", False)
    value, interval = row.difference.value, row.difference.interval
    shown = f"{value:+.3f}" + (f" [{interval.low:+.3f}, {interval.high:+.3f}]" if interval else "")
    differs = row.test.rejects(plan.alpha)
    holds = differs and value * effect > 0 if effect else not differs
    required = f"{outcome_of(plan).name} of the {required} against {row.contrast.baseline}"
    return CheckResult(required, value, f"{shown}, p {format_p(row.test.p)}", holds)


def _studies(seeds: int, plan: AnalysisPlan) -> str:
    return f"studies of {seeds} pairs of seeds" if plan.paired else f"studies of {seeds} v {seeds} seeds"
