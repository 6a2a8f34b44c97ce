"""Power of a next study, and calibration of the tests."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.outcome_power import effect_points, more_sensitive, own_contrasts, power_by_outcome, precision_table
from analysis.projected_power import project_power
from analysis.stats.types import DegenerateInput
from reports.chapters.chapter import Chapter
from reports.report_data import ReportData

CALIBRATION = Path(__file__).parents[1] / "calibration" / "calibration.csv"


def power_chapter(m: ReportData) -> Chapter:
    """Precision attained by outcome, and power of larger designs at the spread between seeds of this sweep."""
    chapter = Chapter("outlook", "Precision, and power of a next study", "planning", m.stamp)
    _precision(m, chapter)
    try:
        found = project_power(m.frames, m.plan)
    except DegenerateInput as reason:
        chapter.add_sentence(str(reason))
        return chapter
    chapter.text += found.sentences
    test = "sign flips" if m.plan.paired else "permutation"
    spread = " (of pairs' differences, over √2)" if m.plan.paired else ""
    chapter.table(
        "outlook",
        "Power by number of seeds",
        found.table,
        f"{m.summary.contrasted}, power 80 % at α = {m.plan.alpha:g}, two-sided exact {test}, seeds normal with the "
        f"pooled SD of this sweep{spread}: {100 * found.sd:.2f} points "
        f"[{100 * found.low:.2f}, {100 * found.high:.2f}]. least p adj.: after "
        f"{m.plan.correction_name} over {found.tests} suites. For planning the next study; it does not bear on "
        "this one.",
        least_p_adjusted="p",
        detectable="share",
        at_margin="share",
    )
    return chapter


def _precision(m: ReportData, chapter: Chapter) -> None:
    found = power_by_outcome(own_contrasts(m.frames, m.plan), m.plan, fewest=2)
    best = more_sensitive(found, m.plan)
    if best is not None:
        registered = found[0]
        chapter.text.append(
            f"The registered outcome was not the most sensitive one logged: {registered.outcome.name}, attained "
            f"±{100 * registered.half_width(m.plan.level):.1f} points, {best.outcome.name} "
            f"±{100 * best.half_width(m.plan.level):.1f} points."
        )
    chapter.table(
        "precision",
        "Precision attained, by outcome",
        precision_table(found, m.plan),
        f"Spread of this sweep's contrasts. sd: SD of what one seed adds to a difference; half width: of the "
        f"{100 * m.plan.level:g} % t interval, the precision attained; detectable: with a power of 80 % at these "
        f"seeds. Seeds (pairs, or seeds an arm) for {effect_points()} points at 80 %: by the t law, and by the "
        "normal law, which asks too few of small designs. At equal differences: an area differs by less than the end "
        "where arms part late.",
        sd="share",
        half_width="share",
        detectable="share",
        needed="text",
        needed_normal="text",
    )


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
    near = table[counts.isna() | (counts == nearest)]
    shown, limits = near[near["role"].isin(["primary", "support"])], near[near["role"] == "limit"]
    columns = ["test", "design", "type1", "power", "coverage", "verdict"]
    liberal = shown[shown["verdict"] == "too liberal"]["test"].tolist()
    chapter.text.append(
        f"By simulation with known truth, nearest to this sweep {nearest} seeds an arm: "
        + (f"too liberal: {', '.join(liberal)}." if liberal else "no test that this report uses is too liberal.")
    )
    if len(limits):
        chapter.text.append(
            "Limits: where a few runs of one arm collapse no test of seeds is one of means "
            f"(type-I error up to {limits['type1'].max():.3f}), and a check of `requires` near its bound selects "
            "studies with large differences; a bound far from what is expected does not."
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
