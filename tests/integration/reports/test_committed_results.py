"""FINDINGS.md, its pictures and the README's result are what the committed results of the studies give."""

from __future__ import annotations

import pytest

from reports.findings.claims import read_claims
from reports.findings.measure_registry import MEASURES, POOLED_MEASURES
from reports.findings.overview import overview_verdict
from reports.findings.page import (
    FINDINGS_FILE,
    PICTURES_FOLDER,
    README_FILE,
    REPORTS_FOLDER,
    make_page,
    updated_readme,
)
from reports.packing.read_study import Study, committed_studies


@pytest.fixture(scope="module")
def studies() -> dict[str, Study]:
    return committed_studies()


def test_the_committed_page_is_what_the_committed_results_give(studies):
    page = make_page(studies, read_claims())
    assert (REPORTS_FOLDER / FINDINGS_FILE).read_text(encoding="utf-8") == page.text, "run make findings"
    kept = {p.name: p.read_bytes() for p in (REPORTS_FOLDER / PICTURES_FOLDER).glob("*.svg")}
    assert kept == dict(page.pictures), "run make findings"


def test_the_readme_result_is_what_the_committed_results_give(studies):
    text = README_FILE.read_text(encoding="utf-8")
    assert text == updated_readme(studies, text), "run make findings"
    named = [part.split('"')[0] for part in text.split('<img src="')[1:]]
    assert named
    assert all((README_FILE.parent / name).exists() for name in named)


def test_intervals_of_corrected_strata_hold_together(studies):
    made = studies["parse_reliability"]
    found = MEASURES["registered_contrast"](made)
    assert len(found.verdicts) == 2
    assert [r.difference.interval.level for r in found.rows[:2]] == [pytest.approx(0.975)] * 2
    assert [r.equivalence.interval.level for r in found.rows[:2]] == [pytest.approx(0.95)] * 2
    words, _ = overview_verdict(made, [found])
    assert all(f"({r.contrast.stratum})" in words for r in found.rows[:2])


def test_sampled_answers_paired_over_both_studies_differ_as_published_here(studies):
    both = [studies["granularity"], studies["granularity_replication"]]
    metrics = ["eval_sampled/em", "eval_sampled/f1", "eval_sampled/reward_mean"]
    found = POOLED_MEASURES["paired_by_seed"](both, pair=["gsspo", "grpo"], metrics=metrics).table
    assert set(found["pairs"]) == {"28"}
    rows = {(of.split()[0], at): (points, p) for of, at, points, p in found.iloc[:, [0, 1, 3, 5]].to_numpy()}
    assert rows == {
        ("EM", "step 30"): ("-2.07", ".0084"),
        ("EM", "area under the curve"): ("-0.96", ".0036"),
        ("F1", "step 30"): ("-2.80", ".0004"),
        ("F1", "area under the curve"): ("-1.23", ".0004"),
        ("reward", "step 30"): ("-2.27", ".0067"),
        ("reward", "area under the curve"): ("-1.46", ".0001"),
    }
