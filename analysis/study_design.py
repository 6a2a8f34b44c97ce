"""Power analysis of a design before it runs: least p, power, sample sizes. Used by a sweep's dry run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from analysis.compare import format_p, smallest_adjusted_p
from analysis.stats.power import detectable_effect, question_power_n, seed_mean_sd, seed_power, seeds_needed

SEED_SD = 0.017
"""SD over seeds of an arm's true EM, 1.7 points, from earlier runs of this kind. Replace it by a pilot's."""
QUESTION_SD = 0.40
"""SD of one answer given its question: at most .5, less where most questions are always right or always wrong."""


@dataclass(frozen=True, slots=True)
class StudyDesign:
    """Seeds an arm, tests that the correction runs over (suites), questions a suite; assumed noise."""

    seeds: int
    tests: int = 1
    questions: int = 100
    alpha: float = 0.05
    correction: str = "holm"
    margin: float | None = None
    seed_sd: float = SEED_SD
    question_sd: float = QUESTION_SD
    paired: bool = False
    """Whether contrasts pair seeds, which changes the least p. Power is the unpaired comparison's all the same."""

    @property
    def sd(self) -> float:
        """SD of one seed's EM on one suite."""
        return seed_mean_sd(self.seed_sd, self.question_sd, self.questions)

    @property
    def sd_of_mean(self) -> float:
        """SD of one seed's mean EM over suites: more questions, the same seed effect on all of them."""
        return seed_mean_sd(self.seed_sd, self.question_sd, self.questions * self.tests)


@dataclass(frozen=True, slots=True)
class DesignAssessment:
    """Reach and power of the primary test (the mean over suites) and of the suites after the correction.

    Effects in the metric's unit. `detectable…` None: no effect can be found, because the least p exceeds α.
    """

    design: StudyDesign
    smallest_p: float
    smallest_adjusted: float
    seeds_to_reach: int
    seeds_to_reach_suites: int
    detectable: float | None
    detectable_suite: float | None
    power_at_margin: float | None
    seeds_for_margin: int | None
    questions_for_margin: int | None
    sentences: tuple[str, ...]

    @property
    def reachable(self) -> bool:
        """Whether the primary test can be significant at all."""
        return self.smallest_p <= self.design.alpha

    @property
    def suites_reachable(self) -> bool:
        """Whether a single suite can be significant after the correction."""
        return self.smallest_adjusted <= self.design.alpha


def assess_design(design: StudyDesign, power: float = 0.8) -> DesignAssessment:
    """Assess reach and power of `design`. Deterministic; a few seconds at most."""
    tests = design.tests if design.correction == "holm" else 1
    least = smallest_adjusted_p(design.seeds, design.seeds, 1, design.paired)
    adjusted = smallest_adjusted_p(design.seeds, design.seeds, tests, design.paired)
    found = detectable_effect(design.sd_of_mean, design.seeds, design.alpha, power)
    on_suite = detectable_effect(design.sd, design.seeds, design.alpha / tests, power)
    at_margin = for_margin = questions = None
    if design.margin is not None:
        at_margin = seed_power(design.margin, design.sd_of_mean, design.seeds, design.alpha)
        for_margin = seeds_needed(design.margin, design.sd_of_mean, design.alpha, power)
        questions = math.ceil(
            question_power_n(2 * design.question_sd**2, design.margin, alpha=design.alpha, power=power)
        )
    made = DesignAssessment(
        design,
        least,
        adjusted,
        _seeds_to_reach(design.alpha, design.paired),
        _seeds_to_reach(design.alpha / tests, design.paired),
        found,
        on_suite,
        at_margin,
        for_margin,
        questions,
        (),
    )
    return replace(made, sentences=tuple(_sentences(made, tests, power)))


def _seeds_to_reach(alpha: float, paired: bool) -> int:
    return next(s for s in range(2, 200) if smallest_adjusted_p(s, s, 1, paired) <= alpha)


def _sentences(a: DesignAssessment, tests: int, power: float) -> Iterator[str]:
    d = a.design
    seeds = f"{d.seeds} pairs of seeds" if d.paired else f"{d.seeds} v {d.seeds} seeds"
    if not a.reachable:
        yield (
            f"{seeds}: the smallest attainable p is {format_p(a.smallest_p)}, above α = {d.alpha:g}. No outcome "
            f"would be significant; with {a.seeds_to_reach} seeds an arm one can be."
        )
    else:
        yield f"{seeds}: the smallest attainable p is {format_p(a.smallest_p)} (α = {d.alpha:g})."
        if a.detectable is not None:
            yield (
                f"Mean over suites: power {power:.0%} for a difference of {100 * a.detectable:.1f} points "
                f"(assumed: {'unpaired, ' if d.paired else ''}seed SD {100 * d.seed_sd:.1f} points, {d.questions} "
                "questions a suite)."
            )
    suites = f"Single suites: smallest p after {d.correction.capitalize()} over {tests} is"
    if tests > 1 and a.suites_reachable and a.detectable_suite is not None:
        yield (
            f"{suites} {format_p(a.smallest_adjusted)}; power {power:.0%} for {100 * a.detectable_suite:.1f} points."
        )
    elif tests > 1:
        yield (
            f"{suites} {format_p(a.smallest_adjusted)}, above α: "
            f"none can be significant by itself; with {a.seeds_to_reach_suites} seeds an arm one can be."
        )
    if d.margin is not None and a.power_at_margin is not None:
        need = f"{a.seeds_for_margin} seeds an arm" if a.seeds_for_margin else "more than 64 seeds an arm"
        share = f"power {a.power_at_margin:.0%}; {power:.0%} needs {need}"
        yield f"A difference of the margin, {100 * d.margin:g} points: {share}."
