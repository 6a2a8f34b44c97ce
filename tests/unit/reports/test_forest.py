"""A forest plot marks what may be claimed, and nothing else."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.text import Text

from analysis.compare import compare_arms
from analysis.registered_plan import AnalysisPlan, ArmContrast
from analysis.summary import OVERALL
from reports.figures import forest
from tests.support.synthetic_sweep import made_frames

HIGH, LOW = [0.50, 0.51, 0.52, 0.53, 0.54, 0.55], [0.10, 0.11, 0.12, 0.13, 0.14, 0.15]
SAME = [0.30, 0.31, 0.32, 0.29, 0.28, 0.33]
PLAN = AnalysisPlan(axis="objective.preset", treatment="gsspo", baseline="grpo", margin=0.03)
PAIR = ArmContrast("gsspo", "grpo", "objective.preset", "", True)


@pytest.mark.parametrize(("mean", "stars"), [((HIGH, LOW), 2), ((SAME, SAME), 0)])
def test_a_suite_is_starred_only_where_the_mean_over_suites_differs(mean, stars):
    groups = {"a": (HIGH, LOW), "b": (SAME, SAME), OVERALL: mean}
    values = {
        (g, arm): pd.Series(v) for g, pair in groups.items() for arm, v in zip(("gsspo", "grpo"), pair, strict=True)
    }
    rows = compare_arms(values, [PAIR], PLAN, uncorrected={OVERALL}, margin=PLAN.margin)
    canvas = forest.draw_forest(made_frames(), rows, PLAN).canvas
    texts = [t.get_text() for t in canvas.axes[0].texts]
    assert sum(t.endswith(" *") for t in texts) == stars
    assert len(texts) == 3


def test_a_title_of_two_long_arms_stays_on_the_canvas():
    arms = [f"interface={name}, policy=random" for name in ("natural language", "code")]
    values = {("a", arm): pd.Series(v) for arm, v in zip(arms, (HIGH, LOW), strict=True)}
    pair = ArmContrast(*arms, "environment.interface", "policy=random", True)
    canvas = forest.draw_forest(made_frames(), compare_arms(values, [pair], PLAN), PLAN).canvas
    canvas.draw_without_rendering()
    wanted = f"{arms[0]} − {arms[1]} (confirmatory; policy=random)"
    (title,) = [t for t in canvas.axes[0].findobj(Text) if t.get_text().replace("\n", " ") == wanted]
    assert title.get_window_extent().x1 <= canvas.bbox.x1
    assert title.get_window_extent().y1 <= canvas.bbox.y1
