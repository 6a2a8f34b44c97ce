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


def test_pooled_effects_are_means_of_the_differences_in_each_cell(studies):
    made = studies["parse_reliability"]
    values = made.frames.values(made.plan.metric, 30).groupby("arm", observed=True)["value"].mean()
    cells = {cell: values[f"gsspo, {cell}"] - values[f"grpo, {cell}"] for cell in ("paper", "unpunished")}
    table = MEASURES["pooled_effects"](made).table.set_index("effect")
    shown = float(table.loc["preset: gsspo − grpo, mean of 2 cells", "difference"])
    assert shown == pytest.approx(sum(cells.values()) / 2, abs=5e-4)


def test_a_study_of_one_factor_has_no_pooled_effect(studies):
    assert MEASURES["pooled_effects"](studies["granularity"]).table is None


def test_states_of_runs_count_the_runs_that_never_left_the_lower_one(studies):
    made = studies["granularity_replication"]
    found = MEASURES["states_of_runs"](made)
    table = found.table.set_index("arm")
    last = made.frames.values("eval/em", 30)
    low = {arm: int((last.loc[last["arm"] == arm, "value"] < 0.5).sum()) for arm in table.index}
    assert low == {"gsspo": 2, "grpo": 0}
    assert {arm: int(n) for arm, n in table["never"].items()} == low
    assert "gsspo 16 of 18 runs" in found.sentences[0]


def test_evaluation_noise_and_seed_variance_add_up_to_the_variance_between_runs(studies):
    made = studies["granularity"]
    table = MEASURES["spread_by_source"](made).table.set_index("arm")
    gsspo = table.loc["gsspo"].map(lambda cell: float(cell.split()[0].strip("[,")))
    last = made.frames.values("eval/em", 30)
    assert gsspo["total sd"] == pytest.approx(last.loc[last["arm"] == "gsspo", "value"].std(ddof=1), abs=5e-4)
    assert gsspo["noise sd"] ** 2 + gsspo["seed sd"] ** 2 == pytest.approx(gsspo["total sd"] ** 2, abs=1e-4)


def test_power_by_outcome_is_counted_over_the_runs_of_both_studies(studies):
    both = [studies["granularity"], studies["granularity_replication"]]
    table = POOLED_MEASURES["pooled_power"](both, pair=["gsspo", "grpo"]).table
    needed = dict(zip(table["outcome"], table["by the normal law"], strict=True))
    assert set(table["seeds"]) == {"28"}
    assert needed["EM, last step, unpaired (registered)"] == "634 / 228 / 90"
    assert needed["EM of sampled answers, area under the curve, paired by seed"] == "54 / 20 / 8"
