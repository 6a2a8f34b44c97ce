"""EM of each checkpoint before and after training on the same questions (`python -m analysis.progress`).

Intervals are over questions (Wilson's for a score, paired within suites for a change), suites weigh the same: claims
about these checkpoints, not about the objectives that trained them, which require seeds.
"""

from __future__ import annotations

import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.episode_frames import Episodes
from analysis.frames import CHANGE_RANGE, SHARE_RANGE
from analysis.stats.strata import stratified_difference, stratified_mean
from analysis.stats.types import DegenerateInput
from analysis.summary import OVERALL

PROGRESS_COLUMNS = [
    "trial",
    "suite",
    "questions",
    "before",
    "before_low",
    "before_high",
    "after",
    "after_low",
    "after_high",
    "change",
    "low",
    "high",
    "gained",
    "lost",
    "p",
]


def before_and_after(course: Episodes, level: float = 0.95) -> pd.DataFrame:
    """PROGRESS_COLUMNS by trial and suite, all suites first, from greedy episodes of several steps, one a question.

    before is each trial's first step there, after its last; gained, lost: questions right at that one alone; p: of the
    paired difference, uncorrected. Trials with one step, or with different questions at the two steps, are dropped.
    """
    rows = []
    for trial, episodes in course.episodes.groupby("trial", observed=True, sort=False):
        steps = episodes["step"]
        first, last = (episodes[steps == s].sort_values("question") for s in (steps.min(), steps.max()))
        if steps.min() == steps.max() or first["question"].tolist() != last["question"].tolist():
            continue
        for suite in [OVERALL, *sorted(str(s) for s in first["suite"].unique())]:
            kept = (first["suite"] == suite).to_numpy() | (suite == OVERALL)
            a, b, strata = (column[kept].to_numpy() for column in (last["em"], first["em"], first["suite"]))
            try:
                change, test = stratified_difference(a, b, strata, level)
            except DegenerateInput:  # a single question
                continue
            before, after = (stratified_mean(x, strata, level=level) for x in (b, a))
            rows.append(
                {
                    "trial": str(trial).rpartition("-")[0] or str(trial),
                    "suite": suite,
                    "questions": int(kept.sum()),
                    "before": number_or_blank(before.value),
                    **interval_columns(before, "before_", SHARE_RANGE),
                    "after": number_or_blank(after.value),
                    **interval_columns(after, "after_", SHARE_RANGE),
                    "change": number_or_blank(change.value),
                    **interval_columns(change, within=CHANGE_RANGE),
                    "gained": int((a > b).sum()),
                    "lost": int((a < b).sum()),
                    "p": number_or_blank(test.p),
                }
            )
    return pd.DataFrame(rows, columns=PROGRESS_COLUMNS)
