"""Numbers of FINDINGS.md by the names that claims.yaml uses: each measure maps a study's results to a table and
sentences; the primary has verdicts."""

from __future__ import annotations

from collections.abc import Callable

from reports.findings import contrasts, levels, pooled, scrutiny, stored
from reports.findings.measured import Measured

MEASURES: dict[str, Callable[..., Measured]] = {
    "primary": contrasts.primary,
    "contrast": contrasts.contrast,
    "areas": contrasts.areas,
    "part": scrutiny.part,
    "by_step": scrutiny.by_step,
    "questions": scrutiny.questions,
    "published": scrutiny.published_gap,
    "speed": levels.speed,
    "levels": levels.levels,
    "rises": levels.rises,
    "answered": levels.answered,
    "seeds": levels.seeds,
    "course": levels.course,
    "traces": levels.traces,
    "spread": levels.spread,
    "table": stored.table,
    "use": stored.use,
}

POOLED: dict[str, Callable[..., Measured]] = {"paired_by_seed": pooled.paired_by_seed}
"""Measures of several studies, which the setting `studies` names."""
