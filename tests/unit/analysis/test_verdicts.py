"""Sentences never say more than the numbers; a plan that changed after the fact promises nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.compare import compare_arms
from analysis.outcome import Outcome
from analysis.preregistration import check_registration
from analysis.registered_plan import ArmContrast, read_analysis_plan
from analysis.summary import OVERALL, summarise
from analysis.verdict import (
    ContrastVerdict,
    finding_sentence,
    findings,
    primary_sentence,
    summarise_findings,
    verdict_of,
)
from harness.config.identity import registered_hash
from tests.support.examples import examples
from tests.support.synthetic_sweep import ANALYSIS, made_frames

PLAN = read_analysis_plan(ANALYSIS)
CONTRAST = ArmContrast("gsspo", "grpo", "objective.preset", "", True)


def rows_of(groups, margin=PLAN.margin):
    values = {}
    for group, (a, b) in groups.items():
        values[group, "gsspo"], values[group, "grpo"] = pd.Series(a), pd.Series(b)
    return compare_arms(values, [CONTRAST], PLAN, uncorrected={OVERALL}, margin=margin)


HIGH, LOW = [0.5, 0.51, 0.52, 0.53, 0.54], [0.3, 0.31, 0.32, 0.33, 0.34]
WIDE = [0.1, 0.5, 0.3, 0.6, 0.2], [0.2, 0.4, 0.5, 0.1, 0.45]
SAME = [0.300, 0.301, 0.302, 0.303, 0.304], [0.3005, 0.3015, 0.3012, 0.3022, 0.3035]


def test_each_verdict_has_its_words():
    higher, lower, same, wide = (rows_of({"s": pair})[0] for pair in ((HIGH, LOW), (LOW, HIGH), SAME, WIDE))
    assert verdict_of(higher, 0.05) is ContrastVerdict.HIGHER
    assert "is higher than" in finding_sentence(higher, PLAN)
    assert verdict_of(lower, 0.05) is ContrastVerdict.LOWER
    assert verdict_of(same, 0.05) is ContrastVerdict.EQUIVALENT
    assert "equivalent on s within 3.0 points" in finding_sentence(same, PLAN)
    assert f"90% interval [{100 * same.equivalence.interval.low:+.1f}, " in finding_sentence(same, PLAN)
    assert verdict_of(wide, 0.05) is ContrastVerdict.UNDECIDED
    text = finding_sentence(wide, PLAN)
    low, high = (100 * e for e in (wide.difference.interval.low, wide.difference.interval.high))
    assert text.startswith("No evidence that EM of gsspo differs from that of grpo on s")
    assert f"excludes effects above {high:+.1f} points and below {low:+.1f} points" in text
    assert "equivalence was not shown either" in text


def test_only_shares_are_shown_in_points():
    row = rows_of({"s": (HIGH, LOW)})[0]
    assert " points" in finding_sentence(row, PLAN)
    text = finding_sentence(row, PLAN, Outcome("the number of calls", share=False))
    assert text.startswith("The number of calls of gsspo is higher than that of grpo on s")
    assert " points" not in text
    assert f"difference {float(f'{row.difference.value:.3g}'):+g} [" in text


def test_groups_without_evidence_share_one_sentence():
    groups = {OVERALL: (HIGH, LOW), "a": (HIGH, LOW), "b": WIDE, "c": WIDE}
    text = summarise_findings(findings(rows_of(groups), PLAN), PLAN)
    assert len(text) == 3
    assert "averaged over suites" in text[0]
    assert "is higher than that of grpo on a" in text[1]
    assert "on any single one of b, c" in text[2]
    assert "p after Holm" in text[2]
    groups = {OVERALL: WIDE, "b": WIDE}
    assert len(summarise_findings(findings(rows_of(groups), PLAN), PLAN)) == 2


def test_three_seeds_are_unreachable_at_any_difference():
    row = rows_of({"s": (HIGH[:3], LOW[:3])}, margin=None)[0]
    assert verdict_of(row, 0.05) is ContrastVerdict.UNREACHABLE
    assert "No conclusion" in finding_sentence(row, PLAN)
    assert "smallest attainable p is .1" in finding_sentence(row, PLAN)


def test_a_real_difference_below_the_margin_is_called_small():
    tight = [v + 0.01 for v in SAME[0]], SAME[0]
    text = finding_sentence(rows_of({"s": tight})[0], PLAN)
    assert "higher" in text
    assert "less than the margin" in text


def test_a_difference_is_set_against_the_margin_by_its_interval():
    assert "by more than the margin of 3.0 points" in finding_sentence(rows_of({"s": (HIGH, LOW)})[0], PLAN)
    row = rows_of({"s": ([v + 0.035 for v in LOW], LOW)})[0]
    assert row.difference.interval.low < PLAN.margin < row.difference.interval.high
    assert "is higher" in finding_sentence(row, PLAN)
    assert "whether by more than the margin of 3.0 points is undecided" in finding_sentence(row, PLAN)


def test_no_suite_is_claimed_when_the_primary_test_fails():
    groups = {OVERALL: WIDE, "a": (HIGH, LOW), "b": WIDE}
    found = {f.comparison.group: f for f in findings(rows_of(groups), PLAN)}
    assert not found["a"].confirmatory
    assert "is not claimed to differ" in found["a"].sentence
    assert "higher" not in found["a"].sentence
    groups[OVERALL] = (HIGH, LOW)
    found = {f.comparison.group: f for f in findings(rows_of(groups), PLAN)}
    assert found["a"].confirmatory
    assert "higher" in found["a"].sentence


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.1, 0.1), st.integers(2, 6))
def test_a_sentence_claims_a_difference_exactly_when_the_adjusted_p_allows_it(seed, shift, seeds):
    rng = np.random.default_rng(seed)
    groups = {g: (rng.normal(0.3 + shift, 0.02, seeds), rng.normal(0.3, 0.02, seeds)) for g in ("a", "b")}
    for row in rows_of(groups):
        text = finding_sentence(row, PLAN)
        assert (" is higher than " in text or " is lower than " in text) == (row.p_claim <= PLAN.alpha)
        assert row.p_claim == row.p_adjusted if row.spread.welch_p is None else row.p_claim >= row.p_adjusted
        assert (" is equivalent " in text) <= (row.equivalence.p is not None and row.equivalence.p <= PLAN.alpha)
        assert "nan" not in text.lower()


def test_exploratory_sentences_are_marked():
    summary = summarise(made_frames(), read_analysis_plan(None))
    assert all(f.sentence.startswith("Exploratory: ") for f in findings(summary.contrasts, summary.plan))
    assert primary_sentence(summary).startswith("No confirmatory contrast")
    assert primary_sentence(summarise(made_frames())).startswith("EM of gsspo is higher")


def registered(**changes):
    frames = made_frames()
    config = {"name": "made", "hypothesis": "It helps.", "analysis": ANALYSIS, "seeds": [0, 1, 2, 3, 4]}
    config["preregistration"] = registered_hash(config)
    return dataclasses.replace(frames, config={**config, **changes})


def test_a_kept_promise_is_confirmatory():
    found = check_registration(registered())
    assert found.kept
    assert found.plan == PLAN
    assert "Everything else is exploratory" in found.sentences[0]


@pytest.mark.parametrize(
    "changes",
    [{"analysis": {**ANALYSIS, "margin": 0.2}}, {"hypothesis": "It does not help."}, {"seeds": [0, 1, 2]}],
)
def test_a_plan_changed_afterwards_has_no_confirmatory_contrast(changes):
    found = check_registration(registered(**changes))
    assert not found.kept
    assert any("HASH MISMATCH" in s for s in found.sentences)
    assert not any(f.confirmatory for f in findings(summarise(registered(), found.plan).contrasts, found.plan))


def test_trials_under_another_plan_are_flagged():
    found = check_registration(dataclasses.replace(registered(), promises=frozenset({"0" * 64})))
    assert not found.kept
    assert "some trials ran under another plan (000000000000)" in " ".join(found.sentences)


def test_missing_seeds_and_mixed_code_are_named():
    frames = dataclasses.replace(registered(), codes=frozenset({"a", "b"}))
    frames.trials.loc[frames.trials["trial"] == "grpo_seed3", "included"] = False
    text = " ".join(check_registration(frames).sentences)
    assert "2 versions of the code" in text
    assert "without a finished trial: grpo 3" in text


def test_no_plan_means_all_is_exploratory():
    found = check_registration(made_frames(analysis=None))
    assert "everything here is exploratory" in found.sentences[0]
