"""What a screen shows of a finished sweep: the verdict on top, few lines, nothing that two seeds cannot show."""

from __future__ import annotations

import itertools

import pytest

from analysis.registered_plan import AnalysisPlan, read_analysis_plan
from analysis.screen_summary import SCREEN_LINES, screen_summary
from analysis.summary import summarise
from analysis.verdict import primary_sentence
from harness.config.arm_names import columns_of
from tests.support.synthetic_sweep import ANALYSIS, factorial_frames, made_frames

PLAN = AnalysisPlan("eval/em", "objective.unit", "turn", "token")


def test_the_verdict_comes_first_and_the_contrasted_arms_before_the_others():
    summary = summarise(made_frames(), read_analysis_plan(ANALYSIS))
    lines = screen_summary(summary, 400)
    assert lines[0] == primary_sentence(summary)
    arms = [line.split(":")[0] for line in lines if "from 0.200" in line]
    assert arms == ["grpo", "gsspo", "gspo"]


def test_a_factorial_design_shows_its_main_effects_beside_the_simple_contrasts():
    summary = summarise(factorial_frames(effect=0.02, extra=0.06), PLAN)
    lines = screen_summary(summary, 200)
    main = [line for line in lines if line.startswith("main effect of ")]
    assert [line.split(", mean of 2 cells")[0].removeprefix("main effect of ") for line in main] == [
        "unit: turn − token",
        "reduction: mean − sum",
    ]
    assert "+4" in main[0] or "+5" in main[0]
    assert [line for line in lines if line.startswith("contrast ")]
    assert all(sentence in summary.text() for sentence in ("mean of 2 cells, differs",))


def test_contrasts_that_too_few_seeds_cannot_show_are_one_line():
    effects = dict.fromkeys("abcdefgh", 0.1)
    summary = summarise(made_frames(effects, seeds=(0, 1), analysis=None), AnalysisPlan())
    lines = screen_summary(summary, 100)
    assert not [line for line in lines if line.startswith("contrast ")]
    assert sum("2 v 2 seeds: p ≤ 0.05 is out of reach" in line for line in lines) == 1
    assert "and 6 more arms" in lines


WIDE = "低" * 80
EVERY_CHANGE = {(1, 1, "gsspo"), (3, 2, "x" * 150), (3, 5, WIDE), (8, 5, "gsspo"), (30, 1, WIDE), (30, 2, "gsspo")}


@pytest.mark.parametrize(
    ("arms", "seeds", "name"),
    [
        pytest.param(*case, marks=() if case in EVERY_CHANGE else pytest.mark.nightly)
        for case in itertools.product([1, 3, 8, 30], [1, 2, 5], ["gsspo", "x" * 150, WIDE])
    ],
)
def test_no_screen_is_longer_or_wider_than_promised(arms: int, seeds: int, name: str):
    effects = {f"{name}{i}": 0.01 * i for i in range(arms)}
    frames = made_frames(effects, seeds=tuple(range(seeds)), unfinished=[f"{name}0_seed0"] if arms > 1 else [])
    lines = screen_summary(summarise(frames, read_analysis_plan(ANALYSIS)), 90)
    assert len(lines) <= SCREEN_LINES <= 12
    assert max(map(columns_of, lines)) <= 90
