"""The assay of a study: planted effects and placebos beside what the design detects in simulation."""

from __future__ import annotations

from analysis.compare import format_p
from analysis.outcome import outcome_of
from analysis.planted_effects import run_assay
from reports.findings.contrast_measures import primary_rows, registered_contrast
from reports.findings.measure_result import MeasureResult, by_name
from reports.packing.read_study import Study
from reports.tables import display_frame


def planted_arms(study: Study) -> MeasureResult:
    """Detection rates of the planted effect and of none in simulation, and arms that ran handicapped or as placebo.

    A registered contrast that is itself a known effect stands with them, as data: it is no hypothesis of the page."""
    assay, heading = run_assay(study.frames, study.plan), "Assay: planted effects"
    if assay is None:
        return MeasureResult(heading, None, ["No effect was planted."])
    name, found = outcome_of(study.plan), []
    for row in (*primary_rows(registered_contrast(study).rows), assay.handicap, assay.placebo):
        if row is not None and row.difference.value is not None:
            interval = row.difference.interval
            within = f" [{name.digits(interval.low)}, {name.digits(interval.high)}]" if interval else ""
            shown = "detected" if row.test.rejects(study.plan.alpha) else "not detected"
            found.append(
                f"{row.contrast.label} in {name.name}: {name.amount(row.difference.value)}{within}, "
                f"p {format_p(row.test.p)}: {shown}."
            )
    return MeasureResult(heading, display_frame(assay.table(), {"difference": "signed"}), found, role="registered")


ASSAY_MEASURES = by_name(planted_arms)
