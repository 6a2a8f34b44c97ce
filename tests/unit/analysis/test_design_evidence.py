"""A registered contrast has a verdict only where every design check of its plan holds."""

from __future__ import annotations

import csv
import dataclasses
import io
import re

import pytest

from analysis.check_result import COULD_NOT_TELL
from analysis.design_evidence import check_design, summarise_sweep
from analysis.episode_frames import load_episodes
from analysis.load import load_frames
from analysis.registered_plan import read_analysis_plan
from analysis.verdict import ContrastVerdict, findings, primary_sentence
from reports.chapters.verdict_and_exact_match import verdict_chapter
from reports.report_data import gather_report_data
from tests.support.full_sweep import full_sweep
from tests.support.synthetic_sweep import ANALYSIS, made_frames, write_sweep

P_VALUE = re.compile(r"\bp (adj\. )?[<≤]?\.\d|is higher|is lower|TOST")
LEARNS = {"kind": "learns", "metric": "eval/em", "at_least": 0.05}


def planned(*requires: dict[str, object]):
    return made_frames(analysis={**ANALYSIS, "requires": list(requires)})


def test_checks_that_hold_leave_the_verdict_to_the_test(tmp_path):
    summary = summarise_sweep(write_sweep(tmp_path / "s", planned(LEARNS)))
    assert [c.holds for c in summary.checks] == [True]
    assert primary_sentence(summary).startswith("EM of gsspo is higher")
    assert set(summary.contrast_table()["role"]) == {"confirmatory", "exploratory"}


def test_a_failed_check_withdraws_the_verdict_and_gives_the_number(tmp_path):
    frames = planned(LEARNS, {**LEARNS, "at_least": 0.5})
    summary = summarise_sweep(write_sweep(tmp_path / "s", frames))
    assert [c.holds for c in summary.checks] == [True, False]
    first = primary_sentence(summary)
    assert first.startswith("The design could not tell: eval/em rises by at least 0.5 in some arm; observed +0.19")
    assert not P_VALUE.search(first)
    assert first in summary.text()
    assert set(summary.contrast_table()["role"]) == {COULD_NOT_TELL, "exploratory"}
    rows = list(csv.reader(io.StringIO(summary.csv())))
    assert not any("confirmatory" in row for row in rows)
    found = findings(summary.contrasts, summary.plan, checks=summary.checks)
    registered = [f for f in found if f.comparison.contrast.confirmatory]
    assert {f.verdict for f in registered} == {ContrastVerdict.COULD_NOT_TELL}
    assert not any(f.confirmatory for f in found)


def test_on_another_metric_than_the_registered_one_no_check_is_applied(tmp_path):
    root = write_sweep(tmp_path / "s", planned({**LEARNS, "at_least": 0.5}))
    summary = summarise_sweep(root, metric="eval/em/one_hop")
    assert not summary.checks
    assert "could not tell" not in summary.text()


@pytest.mark.parametrize(("least", "role"), [(0.05, "confirmatory"), (0.5, COULD_NOT_TELL)])
def test_a_report_opens_with_the_checks_and_their_verdict(least, role):
    chapter = verdict_chapter(gather_report_data(planned(LEARNS, {**LEARNS, "at_least": least})))
    assert chapter.role == role
    shown = next(t for t in chapter.tables if t.name == "design_checks").frame
    assert list(shown.columns) == ["required", "observed", "holds"]
    assert list(shown["holds"]) == ["yes", "yes" if least == 0.05 else "no"]
    assert chapter.text[0].startswith("The design could not tell") == (role == COULD_NOT_TELL)
    assert bool(P_VALUE.search(" ".join(chapter.text))) == (role == "confirmatory")


@pytest.mark.parametrize(
    "check",
    [
        {"kind": "called", "operator": "Review", "at_least": 0.05},
        {"kind": "discriminates", "at_least": 0.5},
        {"kind": "exposed", "at_least": 1},
    ],
    ids=lambda c: c["kind"],
)
def test_a_sweep_without_episodes_fails_the_checks_that_need_them(tmp_path, check):
    frames = planned(check)
    plan = read_analysis_plan(frames.config["analysis"])
    (result,) = check_design(dataclasses.replace(frames, path=tmp_path), plan)
    assert (result.holds, result.observed) == (False, None)


def test_checks_on_episodes_count_those_of_the_last_evaluation(tmp_path):
    frames = load_frames(full_sweep(tmp_path / "s", seeds=2, questions=6))
    requires = (
        {"kind": "called", "operator": "Search", "at_least": 0.9},
        {"kind": "called", "operator": "Revise", "at_least": 0.05},
        {"kind": "discriminates", "at_least": 0.1, "between": (0.0, 1.0)},
        {"kind": "exposed", "at_least": 12},
        {"kind": "exposed", "at_least": 13},
    )
    plan = read_analysis_plan({**ANALYSIS, "requires": list(requires)})
    searched, revised, discriminating, *met = check_design(frames, plan)
    assert (searched.holds, searched.observed) == (True, 1.0)
    assert (revised.holds, revised.observed) == (False, 0.0)
    right = load_episodes(frames, ["eval"]).episodes.groupby(["suite", "question"], observed=True)["em"].mean()
    assert discriminating.observed == pytest.approx(((right > 0) & (right < 1)).mean())
    assert [(c.holds, c.observed) for c in met] == [(True, 12.0), (False, 12.0)]  # six questions, two seeds
