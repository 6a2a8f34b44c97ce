"""Chapters of a report in reading order, one function each from report data to text, figures and tables.

A chapter without data in the sweep gives the reason in one sentence. A new statistic with its figure takes two files:
its module in analysis/, and the chapter that calls `Chapter.table` and `Chapter.figure` on it.
"""

from __future__ import annotations

from collections.abc import Callable

from reports.chapters.chapter import Chapter
from reports.chapters.convergence_and_prompts import convergence_chapter, prompt_chapter
from reports.chapters.parsing_and_correction import correction_chapter, parsing_chapter
from reports.chapters.power_and_calibration import calibration_chapter, power_chapter
from reports.chapters.spread_and_factors import factors_chapter, spread_chapter
from reports.chapters.verdict_and_exact_match import exact_match_chapter, verdict_chapter
from reports.report_data import ReportData

CHAPTERS: tuple[Callable[[ReportData], Chapter], ...] = (
    verdict_chapter,
    exact_match_chapter,
    factors_chapter,
    spread_chapter,
    parsing_chapter,
    correction_chapter,
    convergence_chapter,
    prompt_chapter,
    power_chapter,
    calibration_chapter,
)
"""The chapters, in order."""
