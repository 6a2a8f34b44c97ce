"""Numbers of FINDINGS.md by the names that claims.yaml uses: each measure maps a study's results to a table and
sentences; the primary has verdicts."""

from __future__ import annotations

from collections.abc import Callable

from reports.findings import contrasts, levels, scrutiny, stored
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
    "seeds": levels.seeds,
    "course": levels.course,
    "traces": levels.traces,
    "spread": levels.spread,
    "table": stored.table,
    "use": stored.use,
}
