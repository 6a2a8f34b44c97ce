"""EM of each checkpoint before and after training on the same questions.

    python -m analysis.progress runs/NAME [--csv FILE]

Intervals are over questions (Wilson's for a score, paired within suites for a change), suites weigh the same: claims
about these checkpoints, not about the objectives that trained them, which require seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from analysis.compare import interval_columns, number_or_blank
from analysis.episode_frames import GREEDY_SPLIT, Episodes, load_episodes
from analysis.frames import CHANGE_RANGE, SHARE_RANGE
from analysis.load import LoadError, load_frames
from analysis.stats.strata import stratified_difference, stratified_mean
from analysis.stats.types import DegenerateInput
from analysis.summary import OVERALL
from harness.paths import command
from harness.redact import error_text

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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command("progress", "analysis.progress"),
        description="EM of each checkpoint before and after training, by suite.",
    )
    parser.add_argument("sweep", help="folder of a sweep, such as runs/granularity")
    parser.add_argument("--csv", help="file for the whole table, in full precision")
    options = parser.parse_args(arguments)
    try:
        table = before_and_after(load_episodes(load_frames(options.sweep), [GREEDY_SPLIT]))
    except (LoadError, ValueError) as error:
        print(error_text(error), file=sys.stderr)
        return 1
    if options.csv:
        table.to_csv(options.csv, index=False, lineterminator="\n")
    print("EM before and after training, 95 % intervals over questions; a claim about each checkpoint")
    for trial, rows in table.groupby("trial", sort=False):
        print(f"\n{trial}")
        for r in rows.itertuples():
            print(
                f"  {r.suite:<18}{r.questions:>5} questions  {r.before:.3f} [{r.before_low:.3f}, {r.before_high:.3f}]"
                f" → {r.after:.3f} [{r.after_low:.3f}, {r.after_high:.3f}]"
                f"  {r.change:+.3f} [{r.low:+.3f}, {r.high:+.3f}]  +{r.gained} −{r.lost} questions"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
