"""The simulation behind the calibration table: known truth goes in, honest and dishonest tests can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import rejection_rates as calibrate
from analysis.calibration import roles, simulate
from analysis.calibration.simulate import SimulationSetting


@pytest.fixture(scope="module")
def table():
    """The designs of five seeds, with fewer questions, and those that are not about seeds, but for the slowest."""
    slow = ("15 runs", "5 v 5 seeds, 100 faults")
    listed = [d for d in calibrate.designs((5,), 200) if not d[0].startswith(slow)]
    return calibrate.run_calibration(listed, simulations=80).set_index("test")


def test_made_up_studies_have_the_effect_and_spread_they_are_given():
    rng = np.random.default_rng(0)
    world = SimulationSetting(seeds=400, questions=400, effect=0.06, seed_sd=0.05)
    a, b, (truth, other) = simulate.simulate_arms(world, rng)
    assert a.mean() - b.mean() == pytest.approx(0.06, abs=0.01)
    assert truth - other == pytest.approx(0.06, abs=0.01)
    assert a.mean() == pytest.approx(truth, abs=0.01)
    noise = (a.mean(axis=0) * (1 - a.mean(axis=0))).mean() / 400
    assert np.sqrt(a.mean(axis=1).var() - noise) == pytest.approx(0.05, abs=0.006)
    assert (a.mean() + b.mean()) / 2 == pytest.approx(0.4, abs=0.05)


def test_suites_of_a_run_share_its_seed_effect():
    a, _, _ = simulate.simulate_suites(
        SimulationSetting(seeds=300, questions=400, seed_sd=0.08), 2, np.random.default_rng(0)
    )
    assert np.corrcoef(a.T)[0, 1] > 0.7


def test_seed_level_tests_hold_their_level_and_question_level_ones_do_not(table):
    for name in ("seed permutation, exact", "Welch t on seed means", "two-way cluster, t", "TOST, margin 0.05"):
        assert table.at[name, "type1"] <= 0.05 + 3 * 0.025, name
    assert table.at["question-paired, seeds taken as fixed", "type1"] > 0.05 + 2 * 0.025
    assert table.at["any of 7 suites, Holm", "type1"] <= 0.05
    assert table.at["any of 7 suites, uncorrected", "type1"] > 0.1
    for name in ("P(improvement), t of jackknifed seeds", "Kaplan–Meier band, clustered by question"):
        assert table.at[name, "coverage"] >= 0.95 - 3 * 0.025, name
    assert table.at["Wilson, turns taken as independent", "coverage"] < table.at["Wilson, design effect", "coverage"]


def test_a_real_effect_is_found_more_often_than_none(table):
    both = table[(table["power"] != "") & (table["type1"] != "")]
    able = both.drop(index=["seed permutation, paired by seed", "any of 7 suites, Holm"])  # 5 seeds: no power at all
    assert (able["power"] > able["type1"]).all()
    assert table.at["seed permutation, paired by seed", "power"] == 0


def test_the_table_is_the_same_every_time_and_has_its_errors():
    listed = [*calibrate.designs((3,), 50), *calibrate.further_designs((3,))]
    first, second = (calibrate.run_calibration(listed, simulations=2) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    text = calibrate.calibration_page(first)
    assert text.count("|\n") >= len(first)
    assert "2 simulations a cell" in text
    assert "nan" not in text
    named = {name for names in roles.ROLES.values() for name in names}
    assert named <= set(first["test"])  # every test that a report uses is put to the trial


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"type1": 0.05, "coverage": ""}, calibrate.HOLDS),
        ({"type1": 0.09, "coverage": ""}, calibrate.LIBERAL),
        ({"type1": 0.05, "coverage": 0.91}, calibrate.LIBERAL),
        ({"type1": 0.01, "coverage": 0.95}, calibrate.CONSERVATIVE),
        ({"type1": 0.0, "power": 0.0, "coverage": ""}, calibrate.NO_POWER),
    ],
)
def test_a_rate_is_judged_against_its_monte_carlo_error(row, expected):
    errors = {f"{name}_se": (v * (1 - v) / 1000) ** 0.5 for name, v in row.items() if v not in ("", 0.0)}
    assert (
        calibrate.calibration_verdict({"power": 0.8, **errors, **row, "type1_se": errors.get("type1_se", 0.0005)})
        == expected
    )


PUBLISHED = pd.read_csv(Path(__file__).parents[3] / "reports" / "calibration" / "calibration.csv")


def test_no_test_that_a_report_uses_is_too_liberal():
    used = PUBLISHED[PUBLISHED["role"].isin(roles.USED)]
    assert set(used["test"]) == {n for r in roles.USED for n in roles.ROLES[r]}
    assert used[used["verdict"] == calibrate.LIBERAL]["test"].tolist() == []


def published_type1(test: str, design: str) -> float:
    return float(PUBLISHED.query("test == @test and design == @design")["type1"].item())


def test_what_holds_under_unequal_spread_is_welch_and_not_a_studentized_permutation():
    for design in ("5 v 5 seeds, SDs 3:1", "8 v 8 seeds, SDs 3:1"):
        plain, studentized = (
            published_type1(t, design) for t in ("seed permutation of unequal SDs", "studentized permutation")
        )
        assert studentized == plain > published_type1("permutation, with Welch where SDs differ", design)
    assert published_type1("studentized permutation", "4 v 8 seeds, SDs 3:1") > 0.1


def test_no_test_of_means_survives_collapsed_runs_of_one_arm():
    design = "8 v 8 seeds, a tenth of one arm's runs collapsed"
    rows = PUBLISHED[(PUBLISHED["design"] == design)]
    assert (rows["type1"] > 0.1).all()
    assert set(rows["verdict"]) == {calibrate.LIBERAL}


def test_conditioning_on_a_check_inflates_the_error_only_where_the_check_is_near_its_bound():
    design = "8 v 8 seeds, where a check of `requires` holds"
    for check in ("learns", "a placebo", "a planted effect"):
        assert published_type1(f"permutation, given {check}", design) <= 0.055, check
    assert published_type1("permutation, given learns, met by half of the studies", design) > 0.07


def test_runs_that_share_a_level_or_a_seed_are_no_independent_units():
    starts, cells = "8 v 8 start policies of 4 seeds", "8 v 8 seeds in each of 4 cells"
    assert published_type1("permutation of levels, nested", starts) < 0.07
    assert published_type1("seed permutation, nesting ignored", starts) > 0.2
    assert published_type1("main effect, sign flips of seeds over cells", cells) < 0.07
    assert published_type1("main effect, runs of a seed taken as independent", cells) > 0.15


def test_the_error_of_the_two_proportion_z_is_what_it_leaves_out():
    """It misses the seeds' variance and what the shared questions cancel, by a closed form; so does the paired test."""
    expected = simulate.expected_error(SimulationSetting())
    assert expected["two-proportion z"] == pytest.approx(0.0751, abs=5e-4)
    for name, error in expected.items():
        shown = PUBLISHED[(PUBLISHED["test"] == name) & PUBLISHED["design"].str.endswith("v 8 seeds, 500 questions")]
        assert shown["type1"].item() == pytest.approx(error, abs=0.025), name


# Type-I error in per cent for 5 and 3 seeds an arm: 500 questions, seed SD about 1.7 points, 600 simulations.
MEASURED_ELSEWHERE = {
    "two-proportion z": (7.7, 6.3),
    "question-paired, seeds taken as fixed": (15.8, 13.5),
    "two-way cluster, z": (6.8, 7.5),
    "two-way cluster, t": (3.5, 1.5),
    "Welch t on seed means": (3.8, 3.8),
    "seed permutation, exact": (4.0, 0.0),
    "two-way percentile bootstrap": (1.7, 1.5),
}


@pytest.mark.parametrize("name", MEASURED_ELSEWHERE)
def test_the_published_calibration_agrees_with_an_independent_one(name):
    """Both are simulations of alike, not equal worlds: they agree within three standard errors of their difference."""
    shown = PUBLISHED.query("test == @name").set_index("design")
    for seeds, expected in zip((5, 3), MEASURED_ELSEWHERE[name], strict=True):
        ours = shown.loc[f"{seeds} v {seeds} seeds, 500 questions"]
        middle = (ours["type1"] + expected / 100) / 2
        error = (max(middle * (1 - middle), 0.001) * (1 / 600 + 1 / ours["simulations"])) ** 0.5
        assert ours["type1"] == pytest.approx(expected / 100, abs=3 * error)
