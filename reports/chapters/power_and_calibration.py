"""Power of a next study, and calibration of the tests."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.projected_power import project_power
from analysis.stats.types import DegenerateInput
from reports.chapters.chapter import Chapter
from reports.report_data import ReportData

CALIBRATION = Path(__file__).parents[1] / "calibration" / "calibration.csv"


def power_chapter(m: ReportData) -> Chapter:
    """Power of this design and of larger ones, at the spread between seeds of this sweep."""
    chapter = Chapter("outlook", "Power of a next study", "planning", m.stamp)
    try:
        found = project_power(m.frames, m.plan)
    except DegenerateInput as reason:
        chapter.add_sentence(str(reason))
        return chapter
    chapter.text += found.sentences
    chapter.table(
        "outlook",
        "Power by number of seeds",
        found.table,
        f"{m.plan.metric}, power 80 % at α = {m.plan.alpha:g}, two-sided exact permutation, seeds normal with the "
        f"pooled SD of this sweep: {100 * found.sd:.2f} points [{100 * found.low:.2f}, {100 * found.high:.2f}]. least "
        "p adj.: after "
        f"{m.plan.correction_name} over {found.tests} suites. For planning the next study; it does not bear on "
        "this one.",
        least_p_adjusted="p",
        detectable="share",
        at_margin="share",
    )
    return chapter


def calibration_chapter(m: ReportData, path: Path = CALIBRATION) -> Chapter:
    """The rows of the calibration table for tests that a report uses, at the seed count nearest to the sweep's."""
    chapter = Chapter("calibration", "Calibration of the tests", "method")
    table = pd.read_csv(path).fillna("") if path.exists() else pd.DataFrame()
    if "verdict" not in table:
        chapter.text.append("The tests have not been calibrated here: `workflow-harness calibrate` does it.")
        return chapter
    seeds = int(m.frames.trials[m.frames.trials["included"]].groupby("arm")["seed"].nunique().min())
    counts = table["design"].str.extract(r"^(\d+) v \1 seeds")[0]
    nearest = min(counts.dropna().unique(), key=lambda c: (abs(int(c) - seeds), int(c)))
    shown = table[(table["role"] != "not used") & (counts.isna() | (counts == nearest))]
    columns = ["test", "design", "type1", "power", "coverage", "verdict"]
    liberal = shown[shown["verdict"] == "too liberal"]["test"].tolist()
    chapter.text.append(
        f"By simulation with known truth, nearest to this sweep {nearest} seeds an arm: "
        + (f"too liberal: {', '.join(liberal)}." if liberal else "no test that this report uses is too liberal.")
    )
    chapter.table(
        "calibration",
        "Calibration",
        shown[columns],
        f"Nominal .05 and .95; {int(table['simulations'].max())} simulations a row, Monte-Carlo error "
        f"±{(0.05 * 0.95 / table['simulations'].max()) ** 0.5:.3f}. no power: the design cannot reach α. The whole "
        "table, with the tests that are not used, is in reports/calibration; `workflow-harness calibrate` writes it.",
        type1="share",
        power="share",
        coverage="share",
    )
    return chapter
