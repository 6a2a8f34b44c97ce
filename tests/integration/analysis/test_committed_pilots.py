"""Pilots of a new study among the committed results."""

from __future__ import annotations

from analysis.registered_plan import AnalysisPlan
from reports.packing.pilots import pilot_contrasts


def test_pilots_of_like_contrasts_stand_in_where_none_compared_the_two_values():
    other = AnalysisPlan("eval/em", "objective.learning_rate", 1, 2)
    pilots, source = pilot_contrasts(other, "tiny", {})
    assert source.startswith("other contrasts: ")
    assert {p.frames.config["profile"] for p in pilots} == {"tiny"}
    assert pilot_contrasts(other, "a profile without studies", {}) == ([], "")
