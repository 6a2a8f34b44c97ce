"""Verdicts and sentences derived from test results.

A sentence claims a difference only where the corrected exact test is at or below α, equivalence only where TOST is;
otherwise it reports no evidence, which is not evidence of sameness. Suites are tested after the primary test (fixed
sequence): where the mean over suites shows no difference, none is claimed on a suite. Where a design check fails, the
registered contrast has no verdict, whatever its p.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from analysis.caveats import spread_caveat
from analysis.check_result import CheckResult, failed
from analysis.compare import Comparison, format_p
from analysis.outcome import Outcome, outcome_of
from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.stats.types import Test
from analysis.summary import OVERALL, SweepSummary


class ContrastVerdict(StrEnum):
    HIGHER = "higher"
    LOWER = "lower"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"
    UNREACHABLE = "unreachable"  # the design could not have shown a difference
    COULD_NOT_TELL = "could not tell"  # a design check fails


@dataclass(frozen=True, slots=True)
class Finding:
    """Verdict and sentence of one contrast on one group."""

    comparison: Comparison
    verdict: ContrastVerdict
    confirmatory: bool
    sentence: str


def verdict_of(row: Comparison, alpha: float) -> ContrastVerdict:
    """Verdict of one comparison. A difference takes precedence over equivalence: it may be below the margin. Where the
    arms' spreads differ it needs Welch's test too, corrected likewise, as the exact one is then no test of means."""
    if row.p_claim is not None and row.p_claim <= alpha:
        return ContrastVerdict.HIGHER if (row.difference.value or 0.0) > 0 else ContrastVerdict.LOWER
    if row.equivalence is not None and row.equivalence.p is not None and row.equivalence.p <= alpha:
        return ContrastVerdict.EQUIVALENT
    if row.test.smallest_p is not None and row.test.smallest_p > alpha:
        return ContrastVerdict.UNREACHABLE
    return ContrastVerdict.UNDECIDED


def findings(
    rows: Sequence[Comparison],
    plan: AnalysisPlan,
    outcome: Outcome | None = None,
    checks: Sequence[CheckResult] = (),
) -> list[Finding]:
    """One finding a row, primary rows first. A suite of a confirmatory contrast counts as confirmatory only where the
    mean over suites of that contrast, if there is one, was itself significant, and none where one of `checks` fails."""
    could_not_tell = " ".join(c.sentence for c in failed(checks))
    out = [
        Finding(r, ContrastVerdict.COULD_NOT_TELL, False, could_not_tell)
        if could_not_tell and r.contrast.confirmatory
        else Finding(
            r, verdict_of(r, plan.alpha), r.contrast.confirmatory and gate, finding_sentence(r, plan, outcome, gate)
        )
        for r, gate in zip(rows, gate_passed(rows, plan.alpha), strict=True)
    ]
    return sorted(out, key=lambda f: (not f.comparison.contrast.confirmatory, f.comparison.group != OVERALL))


def gate_passed(rows: Sequence[Comparison], alpha: float) -> list[bool]:
    """Fixed-sequence gate of each row: a suite can be claimed only where the mean over suites of its contrast, if
    there is one, is itself significant."""
    passed = {r.contrast.label: differs(r, alpha) for r in rows if r.group == OVERALL}
    return [r.group == OVERALL or passed.get(r.contrast.label, True) for r in rows]


def differs(row: Comparison, alpha: float) -> bool:
    """Whether the corrected test shows a difference."""
    return verdict_of(row, alpha) in (ContrastVerdict.HIGHER, ContrastVerdict.LOWER)


def finding_sentence(row: Comparison, plan: AnalysisPlan, outcome: Outcome | None = None, gate: bool = True) -> str:
    """Sentence for one row. `gate` False: the primary test was not significant, so no difference is claimed."""
    outcome = outcome or outcome_of(plan)
    c, verdict = row.contrast, verdict_of(row, plan.alpha)
    where, within = _where(row, plan), _within(c)
    numbers = f"difference {outcome.amount(row.difference.value)}{_interval(row, outcome)}, p {_p(row, plan)}"
    seeds = f"{row.n_seeds[0]} v {row.n_seeds[1]} {plan.units}"
    names = f"{c.treatment} and {c.baseline}{within}"
    if verdict in (ContrastVerdict.HIGHER, ContrastVerdict.LOWER) and not gate:
        text = f"{outcome.name} of {names}{where} is not claimed to differ: the primary test shows no difference"
    elif verdict in (ContrastVerdict.HIGHER, ContrastVerdict.LOWER):
        text = f"{outcome.name} of {c.treatment} is {verdict.value} than that of {c.baseline}{within}{where}"
        text += _against_margin(row, plan, outcome)
    elif verdict is ContrastVerdict.EQUIVALENT:
        margin = outcome.amount(plan.margin, signed=False)
        text = f"{outcome.name} of {names} is equivalent{where} within {margin} ({_sameness(row.equivalence, outcome)})"
    elif verdict is ContrastVerdict.UNREACHABLE:
        text = (
            f"No conclusion on {outcome.name} of {names}{where}: with {seeds} the smallest attainable p is "
            f"{format_p(row.test.smallest_p)}"
        )
    else:
        text = f"No evidence that {outcome.name} of {c.treatment} differs from that of {c.baseline}{within}{where}"
        text += _excluded(row, outcome)
        if row.equivalence is not None and row.equivalence.p is not None:
            text += f"; equivalence was not shown either (TOST p {format_p(row.equivalence.p)})"
        else:
            text += "; this is no evidence of sameness"
    if not c.confirmatory:
        text = "Exploratory: " + (text[0].lower() + text[1:] if text.startswith("No") else text)
    else:
        text = text[0].upper() + text[1:]
    return f"{text} ({numbers}, {seeds}).{spread_caveat(row, outcome, plan.alpha)}"


def _against_margin(row: Comparison, plan: AnalysisPlan, outcome: Outcome) -> str:
    """Size of a shown difference: its interval lies within the margin, across it, or beyond."""
    interval = row.difference.interval
    if plan.margin is None or interval is None or not interval.bounded:
        return ""
    margin = outcome.amount(plan.margin, signed=False)
    least, most = sorted((abs(interval.low), abs(interval.high)))
    if most < plan.margin:
        return f", by less than the margin of {margin}"
    if least > plan.margin and interval.low * interval.high > 0:
        return f", by more than the margin of {margin}"
    return f"; whether by more than the margin of {margin} is undecided"


def _excluded(row: Comparison, outcome: Outcome) -> str:
    """Effects that the interval excludes: those beyond its ends."""
    interval = row.difference.interval
    if interval is None or not interval.bounded:
        return ""
    sides = []
    if interval.high > 0:
        sides.append(f"above {outcome.amount(interval.high)}")
    if interval.low < 0:
        sides.append(f"below {outcome.amount(interval.low)}")
    return f"; the interval excludes effects {' and '.join(sides)}" if sides else ""


def summarise_findings(found: Sequence[Finding], plan: AnalysisPlan, outcome: Outcome | None = None) -> list[str]:
    """The findings as a short text: each claim in full, groups without evidence in one sentence a contrast.

    The mean over suites always has its own sentence.
    """
    outcome = outcome or outcome_of(plan)
    out: list[str] = []
    for contrast in dict.fromkeys(f.comparison.contrast for f in found):
        mine = [f for f in found if f.comparison.contrast == contrast]
        rest = [f for f in mine if f.comparison.group != OVERALL]
        unreachable = [f for f in rest if f.verdict is ContrastVerdict.UNREACHABLE]
        undecided = [f for f in rest if f.verdict is ContrastVerdict.UNDECIDED]
        gathered = [f for part in (unreachable, undecided) if len(part) > 1 for f in part]
        out += dict.fromkeys(f.sentence for f in mine if f not in gathered)
        if len(unreachable) > 1:
            rows = [f.comparison for f in unreachable]
            names, role = ", ".join(r.group for r in rows), "" if contrast.confirmatory else "Exploratory: "
            text = f"No conclusion on {outcome.name} on any single one of {names} either."
            out.append(role + (text[0].lower() + text[1:] if role else text))
        if len(undecided) > 1:
            out.append(_nowhere([f.comparison for f in undecided], plan, outcome))
    return out


def _nowhere(rows: Sequence[Comparison], plan: AnalysisPlan, outcome: Outcome) -> str:
    c = rows[0].contrast
    names = ", ".join(r.group for r in rows)
    least = min((r.p_adjusted for r in rows if r.p_adjusted is not None), default=None)
    ends = [e for r in rows if r.difference.interval for e in (r.difference.interval.low, r.difference.interval.high)]
    reach = f"; their intervals range from {outcome.amount(min(ends))} to {outcome.amount(max(ends))}" if ends else ""
    within = _within(c)
    role = "N" if c.confirmatory else "Exploratory: n"
    return (
        f"{role}o evidence of a difference in {outcome.name} between {c.treatment} and {c.baseline}{within} on "
        f"any single one of {names} (smallest p after {plan.correction_name} {format_p(least)}{reach})."
    )


def _where(row: Comparison, plan: AnalysisPlan) -> str:
    if row.group == OVERALL:
        return " averaged over suites"
    return "" if row.group in (plan.metric, plan.metric.rsplit("/", 1)[-1]) else f" on {row.group}"


def _within(contrast: ArmContrast) -> str:
    """The stratum, unless the arms' names contain it."""
    parts = contrast.stratum.split(", ") if contrast.stratum else []
    return f" ({contrast.stratum})" if not all(p in contrast.treatment.split(", ") for p in parts) else ""


def _p(row: Comparison, plan: AnalysisPlan) -> str:
    raw, adjusted = format_p(row.test.p), format_p(row.p_adjusted)
    return raw if raw == adjusted else f"{raw}, {adjusted} after {plan.correction_name}"


def _interval(row: Comparison, outcome: Outcome) -> str:
    interval = row.difference.interval
    if interval is None:
        return f" ({row.difference.note})"
    kind = "exact " if "inversion" in interval.method else ""
    return f" [{outcome.digits(interval.low)}, {outcome.digits(interval.high)}] {kind}{100 * interval.level:g}%"


def _sameness(test: Test | None, outcome: Outcome) -> str:
    """The equivalence test's p, with the interval that goes with it."""
    if test is None:
        return "TOST p –"
    found = test.interval
    within = (
        f", {100 * found.level:g}% interval [{outcome.digits(found.low)}, {outcome.digits(found.high)}]"
        if found
        else ""
    )
    return f"TOST p {format_p(test.p)}{within}"


def primary_sentence(summary: SweepSummary) -> str:
    """First sentence of a report: the primary finding, or the absence of a registered one."""
    found = findings(summary.contrasts, summary.plan, checks=summary.checks)
    primary = [f for f in found if f.comparison.contrast.confirmatory]
    if not primary and summary.plan.axis is not None:
        return (
            f"The registered contrast, {summary.plan.treatment} against {summary.plan.baseline}, cannot be computed: "
            "the finished trials do not include both arms. All results are exploratory."
        )
    if not primary:
        return "No confirmatory contrast: all results are exploratory."
    return primary[0].sentence
