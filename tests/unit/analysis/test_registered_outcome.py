"""Outcomes and pairing that a plan registers: sampled answers, area under the curve, sign flips of seed pairs."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.frames import Frames
from analysis.outcome import outcome_of
from analysis.preregistration import check_registration
from analysis.registered_plan import AnalysisPlan, AnalysisPlanError, read_analysis_plan
from analysis.study_design import StudyDesign, assess_design
from analysis.summary import summarise
from analysis.verdict import primary_sentence
from harness.config.sweep_file import Analysis
from reports.chapters.verdict_and_exact_match import verdict_chapter
from reports.packing.read_study import read_study
from reports.packing.results_folder import RESULTS_FOLDER
from reports.report_data import gather_report_data
from tests.support.synthetic_sweep import ANALYSIS, made_frames

SENSITIVE = {**ANALYSIS, "primary": {**ANALYSIS["primary"], "over": "area"}, "paired": True}


@pytest.fixture(scope="module")
def pairs() -> Frames:
    """The 28 committed seed pairs of gsspo and grpo, of two studies, as one sweep."""
    both = [read_study(RESULTS_FOLDER / name).frames for name in ("granularity", "granularity_replication")]
    arms = {a: both[0].arms[a] for a in ("gsspo", "grpo")}

    def joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
        rows = pd.concat(tables, ignore_index=True)
        return rows[rows["arm"].isin(arms)].reset_index(drop=True)

    return Frames("pairs", {}, joined([f.trials for f in both]), joined([f.metrics for f in both]), arms)


@pytest.mark.parametrize(
    ("metric", "over", "points", "p"),
    [
        ("eval_sampled/em", "area", -0.96, 0.0036),
        ("eval_sampled/em", "last", -2.07, 0.0084),
        ("eval_sampled/f1", "last", -2.80, 0.0004),
    ],
)
def test_paired_outcomes_of_the_committed_seed_pairs(pairs, metric, over, points, p):
    plan = AnalysisPlan(metric, "objective.preset", "gsspo", "grpo", over=over, paired=True, margin=0.05)
    row = next(
        r for r in summarise(pairs, plan).contrasts if r.contrast.confirmatory and r.group in ("all suites", "em", "f1")
    )
    assert row.n_seeds == (28, 28)
    assert 100 * row.difference.value == pytest.approx(points, abs=0.005)
    assert row.test.p == pytest.approx(p, abs=5e-5)
    assert "paired" in row.test.method
    assert "paired" in row.difference.interval.method
    assert "paired" in row.equivalence.method


def test_the_area_counts_the_start_and_every_evaluation():
    frames = made_frames(steps=(0, 10, 20), seeds=(0, 1))
    plan = read_analysis_plan({**ANALYSIS, "primary": {**ANALYSIS["primary"], "over": "area"}})
    row = next(r for r in summarise(frames, plan).contrasts if r.group == "all suites" and r.contrast.confirmatory)
    curves = frames.values("eval/em").pivot_table(index=["arm", "seed"], columns="step", values="value")
    areas = (curves[0] / 2 + curves[10] + curves[20] / 2) / 2
    assert row.difference.value == pytest.approx(areas["gsspo"].mean() - areas["grpo"].mean())


def test_a_paired_plan_compares_shared_seeds_and_names_the_others():
    frames = made_frames(seeds=range(9), unfinished=["grpo_seed3", "gsspo_seed5"])
    unpaired, paired = (summarise(frames, read_analysis_plan({**ANALYSIS, "paired": b})) for b in (False, True))
    rows = [next(r for r in s.contrasts if r.contrast.confirmatory) for s in (unpaired, paired)]
    assert [r.n_seeds for r in rows] == [(8, 8), (7, 7)]
    assert rows[1].test.smallest_p == pytest.approx(2 / 2**7)
    last = frames.values(f"eval/em/{rows[1].group}", 20).pivot_table(index="seed", columns="arm", values="value")
    differences = (last["gsspo"] - last["grpo"]).dropna()
    assert rows[1].difference.value == pytest.approx(differences.mean())
    assert rows[1].equivalence.method.startswith("TOST on paired seed means")
    assert not any("without a pair" in n for n in unpaired.notes)
    assert any(n.startswith("gsspo − grpo") and n.endswith(": 3, 5") for n in paired.notes)


@pytest.mark.parametrize(
    ("metric", "over", "name"),
    [
        ("eval/em", "last", "EM"),
        ("eval_sampled/em", "area", "EM of sampled answers (area under the curve)"),
        ("eval_sampled/parse_ok_rate", "last", "the share of well-formed turns (sampled answers)"),
    ],
)
def test_an_outcome_has_the_name_of_what_is_registered(metric, over, name):
    assert outcome_of(AnalysisPlan(metric, over=over)).name == name


def test_headline_captions_and_registration_name_the_outcome_and_the_pairing():
    data = gather_report_data(made_frames(seeds=range(8), analysis=SENSITIVE))
    assert primary_sentence(data.summary).startswith("EM (area under the curve) of gsspo is higher")
    chapter = verdict_chapter(data)
    caption = next(t for t in chapter.tables if t.name == "contrasts").caption
    assert "area under the curve" in caption
    assert "Sign flips of seed pairs" in caption
    assert "area under the curve" in chapter.figures[0].caption.text
    assert "area under the curve" in data.summary.text()
    lines = check_registration(data.frames).sentences
    assert "area under the curve" in lines[0]
    assert "paired by seed" in lines[0]


def test_an_unknown_outcome_is_refused():
    with pytest.raises(AnalysisPlanError, match="last or area"):
        AnalysisPlan(over="best")


def test_plans_that_use_neither_keep_their_text_and_so_their_hash():
    for given in (ANALYSIS, SENSITIVE):
        written = Analysis.model_validate(given).model_dump(mode="json")
        assert written == {**given, "threshold": None}


@pytest.mark.parametrize(("seeds", "reachable"), [(5, False), (6, True)])
def test_a_paired_design_needs_six_pairs_to_be_significant(seeds, reachable):
    found = assess_design(StudyDesign(seeds=seeds, paired=True))
    assert found.reachable == reachable
    assert found.smallest_p == pytest.approx(2 / 2**seeds)
    assert found.seeds_to_reach == 6
    assert f"{seeds} pairs of seeds" in found.sentences[0]
