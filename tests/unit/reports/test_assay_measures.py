"""Planted effects of a committed study: their measure, and their checks on the page."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from analysis.preregistration import check_registration
from reports.findings.claims import read_claims
from reports.findings.design_checks import evaluate_study_checks, study_check_table, study_evidence
from reports.findings.measure_registry import MEASURES
from reports.packing.read_study import RESULTS_FOLDER, Study, read_study
from tests.support.synthetic_sweep import ANALYSIS, made_frames

ASSAY = {"effect": -0.05, "handicap": {"objective.credit_shuffle": 0.5}}


@pytest.fixture(scope="module")
def answers():
    return read_study(RESULTS_FOLDER / "granularity").greedy


def planted_study(answers, handicap: float = -0.10, **analysis: object) -> Study:
    effects = {"grpo": 0.10, "gsspo": 0.20, "handicap": 0.10 + handicap, "placebo": 0.10}
    frames = made_frames(effects, seeds=range(8), analysis={**ANALYSIS, "assay": ASSAY, **analysis})
    frames = replace(frames, config={**frames.config, "seeds": list(range(8))})
    made = {"mode": "full", "trials": {"declared": 32, "counted": 32}}
    return Study("granularity", made, frames, check_registration(frames), answers, {})


def test_the_measure_states_what_was_planted_and_whether_it_was_found(answers):
    found = MEASURES["planted_arms"](planted_study(answers))
    contrast, handicap, placebo = found.sentences
    assert contrast.startswith("gsspo − grpo in EM: +")
    assert handicap.startswith("handicap − grpo in EM: -")
    assert handicap.endswith(": detected.")
    assert placebo.endswith(": not detected.")
    assert list(found.table["planted"])[:2] == ["handicap, simulated", "placebo, simulated"]
    assert not found.verdicts  # no hypothesis of the page
    plain = replace(planted_study(answers), registration=check_registration(made_frames(seeds=range(8))))
    assert MEASURES["planted_arms"](plain).sentences == ["No effect was planted."]


def test_a_committed_study_whose_handicap_was_not_found_has_no_verdict_on_the_page(answers):
    assert all(c.holds for c in evaluate_study_checks(planted_study(answers)))
    missed = planted_study(answers, handicap=0.0)
    assert [c.holds for c in evaluate_study_checks(missed)] == [True, False, True]
    table = study_check_table({"granularity": missed}, [c for c in read_claims() if c.study == "granularity"][:1])
    failing = table[table["required"].str.contains("handicap")]
    assert list(failing["withdraws"]) == ["entry 1"]


def test_checks_of_a_committed_study_leave_its_planted_arms_out(answers):
    level = {"kind": "level", "metric": "eval/em", "at_least": 0.25}
    made = planted_study(answers, requires=[level])
    assert made.frames.values("eval/em", 20).query("arm == 'handicap'")["value"].mean() < 0.25
    assert evaluate_study_checks(made)[0].holds
    faults = pd.DataFrame({"arm": ["grpo", "gsspo", "handicap"], "exposures": [120, 110, 3]})
    assert study_evidence(replace(made, tables={"faults_arm": faults})).exposures == {"grpo": 120, "gsspo": 110}
