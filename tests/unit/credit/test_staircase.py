"""The value staircase: what is drawn where, and text that cannot become markup."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from harness.credit.staircase import staircase_page
from harness.credit.two_pass import StateValue
from harness.credit.unit_credit import Z95, UnitCredit, unit_credit
from harness.types import Fault, Trajectory
from tests.support.episodes import MALFORMED, RIGHT, SEARCH, question, trajectory

VALUES = [
    StateValue(0.2, 0.05, (0.1, 0.3), 16),
    StateValue(-0.4, 0.1, (-0.4, -0.4), 16),
    StateValue(0.6, 0.0, (1, 0), 16),
]


def episode() -> Trajectory:
    return trajectory([(SEARCH, "nothing"), (MALFORMED, "warning"), (RIGHT, None)])


def credit() -> UnitCredit:
    return unit_credit(VALUES, episode().reward.total)


def lines(page: str, kind: str) -> list[dict[str, float]]:
    """Ends of the drawn lines of a kind, as numbers."""
    (svg,) = re.findall(r"<svg.*?</svg>", page)
    drawn = [e.attrib for e in ElementTree.fromstring(svg).iter("line")]
    return [{n: float(e[n]) for n in ("x1", "x2", "y1", "y2")} for e in drawn if kind in e.get("class", "").split()]


def test_treads_stand_at_the_values_and_risers_join_them() -> None:
    made = credit()
    page = staircase_page(episode(), made, "about")
    treads, risers = lines(page, "tread"), lines(page, "riser")
    heights = np.array([t["y1"] for t in treads])
    slope, level = np.polyfit(made.values, heights, 1)
    assert slope < 0  # upwards on the page
    assert heights == pytest.approx(slope * made.values + level, abs=0.1)  # one scale for all
    assert len(treads) == 4
    for k, riser in enumerate(risers):
        assert (riser["y1"], riser["y2"]) == (treads[k]["y1"], treads[k + 1]["y1"])
        assert riser["x1"] == riser["x2"] == treads[k]["x2"] == treads[k + 1]["x1"]
    assert [len(lines(page, kind)) for kind in ("up", "down")] == [1, 2]
    intervals = lines(page, "interval")
    assert len(intervals) == 2  # the third value and the reward have no error
    for interval, state, y in zip(intervals, VALUES, heights, strict=False):
        assert interval["y1"] - interval["y2"] == pytest.approx(-2 * Z95 * state.error * slope, abs=0.2)
        assert (interval["y1"] + interval["y2"]) / 2 == pytest.approx(y, abs=0.1)


def test_each_unit_stands_beneath_with_its_credit_what_it_did_and_what_was_wrong() -> None:
    units = re.findall(
        r'<div class="unit">(.*?)(?=<div class="unit">|</div></div></body>)', staircase_page(episode(), credit(), "")
    )
    assert len(units) == 3
    assert [re.findall(r"[+-]\d\.\d\d ± \d\.\d\d", u) for u in units] == [
        ["-0.60 ± 0.22"], ["+1.00 ± 0.20"], [f"{episode().reward.total - 0.6:+.2f} ± 0.00"],
    ]  # fmt: skip
    assert "Search" in units[0]
    assert "nothing" in units[0]
    assert "unclosed tag" in units[1]
    assert "answer" in units[2]
    assert "N&#x27;Djamena" in units[2]


def test_no_text_of_an_episode_becomes_markup() -> None:
    attack = "<script>alert(1)</script>"
    asked = replace(question(), text=attack, answers=(attack,))
    turns = [
        (f"<think>{attack}</think><tool>Search: {attack}</tool>", attack),
        (f"<answer>{attack}", attack),
        (RIGHT, None),
    ]
    made = trajectory(turns, asked)
    result = replace(made.turns[0].result, fault=Fault(attack, 0, attack))  # type: ignore[type-var]
    made = replace(made, turns=(replace(made.turns[0], result=result), *made.turns[1:]))
    page = staircase_page(made, credit(), attack)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7
    assert "fault: &lt;script" in page
