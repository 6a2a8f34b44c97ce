"""All measures of FINDINGS.md by name. A new one: a function in a measure module, listed at that module's end."""

from __future__ import annotations

from collections.abc import Mapping

from reports.findings.assay_measures import ASSAY_MEASURES
from reports.findings.contrast_measures import CONTRAST_MEASURES
from reports.findings.descriptive_measures import DESCRIPTIVE_MEASURES
from reports.findings.measure_result import Measure
from reports.findings.pooled_measures import PAIRED_MEASURES
from reports.findings.sensitivity_measures import SENSITIVITY_MEASURES
from reports.findings.spread_measures import POOLED_SPREAD_MEASURES, SPREAD_MEASURES
from reports.findings.table_measures import TABLE_MEASURES

MEASURES: Mapping[str, Measure] = {
    **ASSAY_MEASURES,
    **CONTRAST_MEASURES,
    **DESCRIPTIVE_MEASURES,
    **SENSITIVITY_MEASURES,
    **SPREAD_MEASURES,
    **TABLE_MEASURES,
}
"""Measures of one study."""

POOLED_MEASURES: Mapping[str, Measure] = {**PAIRED_MEASURES, **POOLED_SPREAD_MEASURES}
"""Measures of several studies, named by their setting `studies`."""
