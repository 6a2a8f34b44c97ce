"""Design checks of the committed studies: what the page withdraws follows from numbers."""

from __future__ import annotations

import pytest

from reports.findings.claims import read_claims, validated_requirements
from reports.findings.design_checks import study_check_table
from reports.findings.page import FINDINGS_FILE, REPORTS_FOLDER
from reports.packing.read_study import RESULTS_FOLDER, committed_studies
from reports.tables import markdown_table

STUDIES = {p.parent.name for p in RESULTS_FOLDER.glob("*/provenance.json")}


def test_withdrawn_entries_of_the_page_are_those_whose_design_could_not_tell():
    rows = [
        line.strip("| ").split(" | ")
        for line in (REPORTS_FOLDER / FINDINGS_FILE).read_text(encoding="utf-8").splitlines()
    ]
    found = {row[0]: row[3:] for row in rows if len(row) == 7 and row[0].isdigit()}
    withdrawn = {}
    for i, claim in enumerate(read_claims(), 1):
        verdict, _, over, same = found[str(i)]
        if verdict == "design could not tell":
            withdrawn[i] = claim.study
            assert (over, same) == ("–", "–")
    assert withdrawn == {9: "operator_pool", 10: "self_correction", 14: "cold_start", 15: "real_questions"}


def test_checks_of_the_committed_studies_fail_by_their_numbers():
    table = study_check_table(committed_studies(), read_claims())
    assert set(table["study"]) == STUDIES
    withdrawing = table[table["withdraws"] != "–"]
    assert (withdrawing["holds"] == "no").all()
    found = {(r.study, r.observed.split(" ")[0]): r.withdraws for r in withdrawing.itertuples()}
    assert found == {
        ("operator_pool", "0.0%"): "entry 9",
        ("self_correction", "0.0%"): "entry 10",
        ("cold_start", "+0.033"): "entry 14",
        ("real_questions", "+0.008"): "entry 15",
    }
    units = table[table["required"].str.contains("/turns")]
    assert len(units) == len(STUDIES)
    assert set(units["holds"]) == {"no"}
    page = (REPORTS_FOLDER / FINDINGS_FILE).read_text(encoding="utf-8")
    assert markdown_table(table) in page


def test_a_check_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="kind"):
        validated_requirements([{"kind": "hopes", "at_least": 1}])
