"""All measures of FINDINGS.md by name. A new one: a function in a measure module, listed at that module's end."""

from __future__ import annotations

from collections.abc import Mapping

from reports.findings.contrast_measures import CONTRAST_MEASURES
from reports.findings.descriptive_measures import DESCRIPTIVE_MEASURES
from reports.findings.measure_result import Measure
from reports.findings.pooled_measures import POOLED_MEASURES
from reports.findings.sensitivity_measures import SENSITIVITY_MEASURES
from reports.findings.table_measures import TABLE_MEASURES

MEASURES: Mapping[str, Measure] = {
    **CONTRAST_MEASURES,
    **DESCRIPTIVE_MEASURES,
    **SENSITIVITY_MEASURES,
    **TABLE_MEASURES,
}
"""Measures of one study."""

__all__ = ["MEASURES", "POOLED_MEASURES"]
