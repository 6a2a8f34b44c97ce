"""The statistical part of a dry run: the registered contrast, its power, its assay, and its checks on earlier data."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from analysis.outcome import outcome_of
from analysis.outcome_power import pilot_sentences, power_by_outcome
from analysis.planted_effects import contrast_spread, detection_rate
from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.stats.types import DegenerateInput
from analysis.study_design import StudyDesign, assess_design
from harness.config import SweepSpec
from harness.config.identity import digest
from harness.config.metric_names import logged
from harness.sweep.console import print_redacted
from harness.sweep.pilot import Pilot, PilotError, find_pilots, read_pilot
from reports.packing.pilots import pilot_contrasts

BY_SUITE = frozenset({"em", "em_sampled", "lenient", "f1"})
"""Last parts of the metric names that evaluations report by suite too; others are over all episodes."""


def preview_tuning(console: Console, spec: SweepSpec) -> None:
    """Print the registered plan of tuning, which a sweep does not carry out."""
    tuning = spec.file.tuning
    if tuning is None:
        return
    arms = len({digest(axes) for axes, _ in spec.cells})
    ranges = "; ".join(f"{name} {of.text}" for name, of in tuning.parameters.items())
    seeds = ", ".join(map(str, tuning.seeds))
    print_redacted(
        console,
        f"tuning, registered and not carried out by a sweep: {tuning.budget} configurations an arm on seeds {seeds},"
        f" {tuning.budget * len(tuning.seeds) * arms} trials beside those above; {ranges}",
    )


def preview_design(console: Console, spec: SweepSpec, given: Path | None = None) -> None:
    """Print reach and power of the registered contrast, and warn of checks that earlier data fail.

    `given`: a pilot's folder; None: committed results of studies that compared the same, see `find_pilots`.
    """
    section = spec.file.analysis
    if section is None:
        print_redacted(console, "no analysis is declared: all results will be exploratory")
        return
    first = spec.cells[0][1].data
    by_suite = section.primary.metric.rsplit("/", 1)[-1] in BY_SUITE
    suites, questions = len(first.eval_suites), first.eval_questions
    design = StudyDesign(
        seeds=len(spec.file.seeds),
        tests=suites if by_suite else 1,
        questions=questions if by_suite else suites * questions,
        alpha=section.alpha,
        correction=section.correction,
        margin=section.margin,
        paired=section.paired,
    )
    treatment, baseline = section.primary.contrast
    print_redacted(console, "")
    where = "on every suite" if by_suite else "over all suites together"
    over = ", area under the curve" if section.primary.over == "area" else ""
    pairs = ", paired by seed" if section.paired else ""
    print_redacted(
        console, f"pre-registered: {section.primary.metric}{over}, {treatment} against {baseline} {where}{pairs}"
    )
    found = assess_design(design)
    for sentence in found.sentences:
        print_redacted(console, sentence)
    if not found.reachable:
        print_redacted(
            console,
            f"warning: this design cannot reach α = {section.alpha:g}; run {found.seeds_to_reach} seeds an arm",
        )
    plan = read_analysis_plan(section.model_dump(mode="json"))
    for sentence in outcome_sentences(spec, plan):
        print_redacted(console, sentence)
    pilots = [_warn_of_failing(console, spec, plan, path) for path in find_pilots(spec, plan, given)]
    _assay(console, plan, design, [pilot for pilot in pilots if pilot is not None])


def outcome_sentences(spec: SweepSpec, plan: AnalysisPlan) -> list[str]:
    """Power of the registered outcome at the spread of committed studies, and a warning where another that every trial
    logs needs fewer seeds. Nothing outside of a checkout, where there are no such studies."""
    pilots, source = pilot_contrasts(plan, spec.file.profile, spec.file.fixed)
    if not pilots:
        return []
    names = set.intersection(*(set(logged(config)) for _, config in spec.cells))
    return pilot_sentences(power_by_outcome(pilots, plan, names), plan, len(spec.file.seeds), source)


def _warn_of_failing(console: Console, spec: SweepSpec, plan: AnalysisPlan, path: Path) -> Pilot | None:
    """The pilot in a folder; None where it cannot be read. Its failing checks are printed as warnings."""
    try:
        pilot = read_pilot(path, plan, len(spec.file.seeds))
    except PilotError as error:
        print_redacted(console, f"warning: the earlier data cannot be read: {error}")
        return None
    for check in pilot.failing:
        print_redacted(
            console, f"warning: {pilot.name} already fails a required check: {check.required}; observed {check.shown}"
        )
    if pilot.checks:
        measured = len(pilot.checks) - len(pilot.unmeasured)
        holds = f"{measured - len(pilot.failing)} of {measured} measured checks hold"
        missing = f", {len(pilot.unmeasured)} not measured" if pilot.unmeasured else ""
        print_redacted(console, f"required checks on {pilot.name}: {holds}{missing}")
    return pilot


def _assay(console: Console, plan: AnalysisPlan, design: StudyDesign, pilots: Sequence[Pilot]) -> None:
    """Print the detection rate of the planted effect at the largest spread between seeds of a pilot, else at the
    assumed one."""
    if plan.assay is None:
        return
    known: list[tuple[float, str]] = []
    for pilot in pilots:
        with contextlib.suppress(DegenerateInput):
            known.append((contrast_spread(pilot.frames, plan), f"of {pilot.name}"))
    assumed = design.sd_of_mean * (math.sqrt(2) if plan.paired else 1.0)
    sd, source = max(known) if known else (assumed, "assumed")
    outcome, of = outcome_of(plan), "of seed pairs " if plan.paired else ""
    rate, chance = (detection_rate(effect, sd, design.seeds, plan) for effect in (plan.assay.effect, 0.0))
    studies = f"{design.seeds} {'pairs of seeds' if plan.paired else 'seeds an arm'}"
    print_redacted(
        console,
        f"assay: an effect of {outcome.amount(plan.assay.effect)} is detected in {rate:.0%} of simulated studies of"
        f" {studies}, a placebo in {chance:.1%} (SD {of}{outcome.amount(sd, signed=False)}, {source})",
    )
    if rate < plan.assay.at_least:
        print_redacted(console, f"warning: the assay requires a detection rate of {plan.assay.at_least:.0%}")
