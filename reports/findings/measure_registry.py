"""Numbers of FINDINGS.md by the names that claims.yaml uses: each measure maps a study's results to a table and
sentences; the primary has verdicts."""

from __future__ import annotations

from collections.abc import Callable

from reports.findings import (
    contrast_measures,
    descriptive_measures,
    pooled_measures,
    sensitivity_measures,
    table_measures,
)
from reports.findings.measure_result import MeasureResult

MEASURES: dict[str, Callable[..., MeasureResult]] = {
    "primary": contrast_measures.registered_contrast,
    "contrast": contrast_measures.axis_contrasts,
    "areas": contrast_measures.area_contrasts,
    "part": sensitivity_measures.seed_subset,
    "by_step": sensitivity_measures.contrast_by_step,
    "questions": sensitivity_measures.uniform_questions,
    "published": sensitivity_measures.published_gap,
    "speed": descriptive_measures.threshold_steps,
    "levels": descriptive_measures.final_levels,
    "rises": descriptive_measures.metric_rises,
    "answered": descriptive_measures.em_of_answered,
    "seeds": descriptive_measures.values_by_seed,
    "course": descriptive_measures.seed_courses,
    "traces": descriptive_measures.trace_means,
    "spread": descriptive_measures.seed_spread,
    "table": table_measures.report_table,
    "use": table_measures.operator_calls,
}

POOLED: dict[str, Callable[..., MeasureResult]] = {"paired_by_seed": pooled_measures.paired_by_seed}
"""Measures of several studies, which the setting `studies` names."""
