"""A sweep's result on a screen: the verdict first, then effects and arms, in few lines. The whole is `summary.txt`."""

from __future__ import annotations

import textwrap

from analysis.check_result import failed
from analysis.compare import Comparison, format_p, format_share
from analysis.factorial_designs import FactorEffect
from analysis.outcome import Outcome, outcome_of
from analysis.stats.types import Estimate
from analysis.summary import OVERALL, ArmRow, SweepSummary
from analysis.verdict import primary_sentence
from harness.config.arm_names import cut_text

VERDICT_LINES, EFFECT_LINES, ARM_LINES = 3, 5, 3
SCREEN_LINES = VERDICT_LINES + EFFECT_LINES + ARM_LINES + 1
"""At most. A command's own closing lines (counts, report, MLflow) bring them to 15."""


def screen_summary(summary: SweepSummary, columns: int) -> list[str]:
    """At most `SCREEN_LINES` lines of at most `columns` terminal columns (80 at least).

    The primary sentence; of a factorial design the main effects beside the simple contrasts over all suites; arms; what
    was left out. Contrasts whose seeds cannot show anything are one line together.
    """
    columns = max(80, columns)
    lines = _wrapped(primary_sentence(summary), columns)
    lines += [cut_text(line, columns) for line in _effects(summary)]
    lines += [cut_text(line, columns) for line in _arms(summary)]
    return [*lines, *(cut_text(line, columns) for line in _gaps(summary))]


def _wrapped(text: str, columns: int) -> list[str]:
    lines = textwrap.wrap(text, columns, break_on_hyphens=False)
    kept = lines[:VERDICT_LINES]
    if len(lines) > len(kept):
        kept[-1] = f"{kept[-1][: columns - 2]} …"
    return [cut_text(line, columns) for line in kept]


def _effects(summary: SweepSummary) -> list[str]:
    outcome = outcome_of(summary.plan)
    main = [_main_effect(e, outcome) for e in summary.effects]
    rows = [r for r in summary.contrasts if r.group in _overall(summary) and not r.contrast.confirmatory]
    hopeless = [r for r in rows if r.test.smallest_p is not None and r.test.smallest_p > summary.plan.alpha]
    simple = [_simple_contrast(r, outcome) for r in rows if r not in hopeless]
    unreachable = []
    if hopeless:
        counts = sorted({f"{a} v {b}" for a, b in (r.n_seeds for r in hopeless)})
        what = f"{len(hopeless)} simple contrasts of {', '.join(counts)} {summary.plan.units}"
        unreachable = [f"{what}: p ≤ {summary.plan.alpha:g} is out of reach"]
    room = EFFECT_LINES - len(unreachable)
    kept = _most(main, room if not simple else room - min(2, len(simple)), "main effects")
    return [*kept, *_most(simple, room - len(kept), "simple contrasts"), *unreachable]


def _main_effect(effect: FactorEffect, outcome: Outcome) -> str:
    return f"main effect of {effect.label}: {_numbers(effect.estimate, outcome)}, p {format_p(effect.test.p)}"


def _simple_contrast(row: Comparison, outcome: Outcome) -> str:
    return f"contrast {row.contrast.label}: {_numbers(row.difference, outcome)}, p {format_p(row.test.p)} (exploratory)"


def _numbers(estimate: Estimate, outcome: Outcome) -> str:
    bounds = estimate.interval
    interval = f" [{outcome.digits(bounds.low)}, {outcome.digits(bounds.high)}]" if bounds else ""
    return f"{outcome.amount(estimate.value)}{interval}"


def _arms(summary: SweepSummary) -> list[str]:
    """The contrasted arms first."""
    groups = _overall(summary)
    rows = [r for r in summary.arms if r.suite in groups]
    registered = [row.contrast for row in summary.contrasts if row.contrast.confirmatory]
    first = [arm for contrast in registered for arm in (contrast.treatment, contrast.baseline)]
    rows.sort(key=lambda r: r.arm not in first)
    return _most([_arm(r, summary) for r in rows], ARM_LINES, "arms")


def _arm(row: ArmRow, summary: SweepSummary) -> str:
    bounds = row.final.interval
    interval = f" [{format_share(bounds.low)}, {format_share(bounds.high)}]" if bounds else ""
    start = f", from {format_share(row.start.value)}" if row.start else ""
    name = outcome_of(summary.plan).name
    return f"{row.arm}: {name} {format_share(row.final.value)}{interval}{start}, {len(row.seeds)} {summary.plan.units}"


def _gaps(summary: SweepSummary) -> list[str]:
    broken = len(failed(summary.checks))
    parts = [f"{broken} of {len(summary.checks)} design checks fail"] if broken else []
    parts += [f"{len(summary.left_out)} trials excluded"] if summary.left_out else []
    parts += [f"{len(summary.notes)} notes"] if summary.notes else []
    return [f"{', '.join(parts)}: see summary.txt"] if parts else []


def _overall(summary: SweepSummary) -> set[str]:
    """The suite group that stands for all: the mean over suites, or the only one there is."""
    groups = list(dict.fromkeys(r.suite for r in summary.arms))
    return {OVERALL} if OVERALL in groups else set(groups[:1])


def _most(lines: list[str], room: int, what: str) -> list[str]:
    """`lines`, or as many as fit with the count of the others."""
    if len(lines) <= room:
        return lines
    kept = lines[: max(0, room - 1)]
    return [*kept, f"and {len(lines) - len(kept)} more {what}"] if room > 0 else []
