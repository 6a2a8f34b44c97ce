"""The chapters of a report, in reading order: one function each, from gathered material to text, figures and tables.

A chapter whose data the sweep does not have says so in one sentence instead.
"""

from __future__ import annotations

from collections.abc import Callable

from reports.chapters.chapter import Section
from reports.chapters.findings import exact_matches, verdicts
from reports.chapters.training import prompts, speed
from reports.chapters.trust import calibration, next_study
from reports.chapters.turns import correction_chapter, parsing_chapter
from reports.context import Material

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    verdicts,
    exact_matches,
    parsing_chapter,
    correction_chapter,
    speed,
    prompts,
    next_study,
    calibration,
)
"""The chapters, in order."""
