"""The overview table of FINDINGS.md: verdict and number of each entry, p-values corrected over the page."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.check_result import COULD_NOT_TELL, CheckResult, failed
from analysis.compare import format_p
from analysis.stats.multiplicity import holm
from analysis.verdict import ContrastVerdict
from reports.findings.contrast_measures import CONFIRMATORY, DESCRIPTIVE
from reports.findings.measure_result import MeasureResult
from reports.packing.read_study import Study

NOT_RUN = "not run in full yet"

VERDICT_PHRASES = {
    ContrastVerdict.HIGHER: "higher, as claimed",
    ContrastVerdict.LOWER: "lower instead",
    ContrastVerdict.EQUIVALENT: "equivalent within the margin",
    ContrastVerdict.UNDECIDED: "not shown",
    ContrastVerdict.UNREACHABLE: "undecidable with these seeds",
}
"""Verdicts as answers to the hypothesis that the contrast is above zero."""


def overview_verdict(
    study: Study | None, measured: Sequence[MeasureResult], checks: Sequence[CheckResult] = ()
) -> tuple[str, str]:
    """(verdict, number) of an entry: of its registered contrast, else the number of its first measure, as exploratory.

    Where one of `checks` fails, the number is the registered difference without its p, and those of the checks.
    """
    if study is None:
        return NOT_RUN, "–"
    if study.small:
        return f"{NOT_RUN}: small-mode data only", "–"
    judged = [m for m in measured if m.role == CONFIRMATORY]
    remarks = [m.remark for m in measured if m.remark]
    unmet = [f"required: {r.required}, observed {r.shown}" for r in failed(checks)]
    if unmet:
        differences = [m.short for m in measured if m.role == DESCRIPTIVE]
        return COULD_NOT_TELL, "; ".join([*differences, *remarks, *unmet])
    if not judged:
        number = next((f"exploratory: {m.short}" for m in measured if m.short), "–")
        return "described", "; ".join([number, *remarks])
    words = [_word(m, i) for m in judged for i in range(len(m.verdicts))]
    missing = absent_seeds(study)
    return ("; ".join(words) + (" (interim)" if missing else "")), "; ".join([judged[0].short, *remarks])


def _word(measured: MeasureResult, i: int) -> str:
    """The i-th verdict, with its stratum where there are several."""
    word = VERDICT_PHRASES[measured.verdicts[i]]
    return f"{word} ({measured.rows[i].contrast.stratum})" if len(measured.verdicts) > 1 else word


def absent_seeds(study: Study) -> int:
    """Number of registered trials without a result."""
    return int(study.provenance["trials"]["declared"]) - int(study.provenance["trials"]["counted"])


def adjust_over_page(registered: Sequence[Sequence[float | None]]) -> list[str]:
    """p of each entry's registered contrasts, Holm-corrected over all entries of the page, as display text."""
    adjusted = iter(holm([p for entry in registered for p in entry]))
    return ["; ".join(format_p(next(adjusted)) for _ in entry) or "–" for entry in registered]
