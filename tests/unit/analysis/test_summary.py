"""The first thing read after a sweep: what counts, what does not, and what the seeds allow to be said."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from scipy import stats

from analysis.compare import format_p
from analysis.design_evidence import summarise_sweep
from analysis.load import LoadError, load_frames
from analysis.registered_plan import AnalysisPlanError, contrasts, read_analysis_plan
from analysis.summary import OVERALL, summarise
from tests.support.synthetic_sweep import ANALYSIS, made_frames, write_sweep


def test_journals_give_back_the_frames_they_were_written_from(tmp_path):
    frames = made_frames()
    read = load_frames(write_sweep(tmp_path / "s", frames))
    key = ["trial", "step", "metric"]
    left = frames.metrics.sort_values(key, ignore_index=True)
    right = read.metrics.sort_values(key, ignore_index=True)
    assert left[key].equals(right[key])
    assert np.array_equal(left["value"], right["value"])
    assert list(read.arms) == ["grpo", "gspo", "gsspo"]


def test_failed_and_unfinished_trials_are_named_and_counted_nowhere(tmp_path):
    frames = made_frames(unfinished=["grpo_seed3"])
    frames.trials.loc[frames.trials["trial"] == "gspo_seed1", ["status", "included"]] = ["failed", False]
    summary = summarise_sweep(write_sweep(tmp_path / "s", frames))
    assert {(t, s) for t, s, _ in summary.left_out} == {("grpo_seed3", "unfinished"), ("gspo_seed1", "failed")}
    assert "excluded: gspo_seed1 (failed): MemoryError: no memory" in summary.text()
    seeds = {(r.suite, r.arm): r.seeds for r in summary.arms}
    assert seeds["one_hop", "grpo"] == (0, 1, 2, 4)
    assert seeds["one_hop", "gspo"] == (0, 2, 3, 4)
    assert seeds["one_hop", "gsspo"] == (0, 1, 2, 3, 4)


def test_a_damaged_journal_excludes_its_trial_with_the_location(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames())
    path = root / "trials" / "grpo_seed0" / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("0.2", "0.9", 1) + "".join(lines[2:]))
    trial = load_frames(root).left_out.iloc[0]
    assert trial["trial"] == "grpo_seed0"
    assert "metrics.jsonl:2" in trial["reason"]
    assert str(root) not in trial["reason"]


def test_an_empty_folder_is_no_sweep(tmp_path):
    with pytest.raises(LoadError, match="sweep"):
        load_frames(tmp_path)


def test_arm_means_and_intervals_are_those_of_student():
    frames = made_frames()
    summary = summarise(frames)
    row = next(r for r in summary.arms if (r.suite, r.arm) == ("two_hop", "gsspo"))
    values = frames.values("eval/em/two_hop", 20).query("arm == 'gsspo'")["value"]
    expected = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert row.final.value == pytest.approx(values.mean())
    assert (row.final.interval.low, row.final.interval.high) == pytest.approx(expected)
    assert row.start.value == pytest.approx(0.2)
    assert row.rise.value == pytest.approx(values.mean() - 0.2)


def test_no_interval_of_a_share_leaves_what_a_share_can_be():
    summary = summarise(made_frames({"gsspo": -0.15, "grpo": 0.75}, seeds=(0, 1)))
    for row in summary.arms:
        assert 0 <= row.final.interval.low <= row.final.value <= row.final.interval.high <= 1
        assert -1 <= row.rise.interval.low <= row.rise.interval.high <= 1
    for contrast in summary.contrasts:
        assert -1 <= contrast.difference.interval.low <= contrast.difference.interval.high <= 1
    ends = {end for row in summary.arms for end in (row.final.interval.low, row.final.interval.high)}
    assert {0.0, 1.0} <= ends  # Student's two intervals go beyond both


def test_holm_runs_over_suites_and_not_over_their_mean():
    frames = made_frames({"grpo": 0.1, "gsspo": 0.13}, suites=("a", "b", "c"))
    rows = [r for r in summarise(frames).contrasts if r.contrast.confirmatory]
    by_suite = {r.group: r for r in rows}
    raw = sorted(by_suite[s].test.p for s in ("a", "b", "c"))
    assert min(by_suite[s].p_adjusted for s in ("a", "b", "c")) == pytest.approx(min(1, 3 * raw[0]))
    assert by_suite[OVERALL].p_adjusted == by_suite[OVERALL].test.p


def test_too_few_seeds_are_called_out_with_the_least_p_they_allow():
    summary = summarise(made_frames(seeds=(0, 1, 2)))
    assert all(r.test.smallest_p == pytest.approx(0.1) for r in summary.contrasts)
    assert any("3 v 3 seeds cannot reach p ≤ 0.05 (smallest attainable .1)" in note for note in summary.notes)
    assert all(r.difference.interval.method == "Welch t on seed means" for r in summary.contrasts)


def test_one_seed_gives_no_interval_and_no_evidence():
    summary = summarise(made_frames(seeds=(4,)))
    assert all(r.final.interval is None and r.final.note for r in summary.arms)
    assert all(r.test.p == 1.0 for r in summary.contrasts)
    assert "nan" not in summary.text().lower()
    assert "nan" not in summary.csv().lower()


def test_a_value_that_is_not_finite_is_left_out_and_named():
    frames = made_frames()
    hit = (frames.metrics["trial"] == "grpo_seed2") & (frames.metrics["metric"] == "eval/em/one_hop")
    frames.metrics.loc[hit & (frames.metrics["step"] == 20), "value"] = np.nan
    summary = summarise(frames)
    row = next(r for r in summary.arms if (r.suite, r.arm) == ("one_hop", "grpo"))
    assert row.seeds == (0, 1, 3, 4)
    assert any("not finite" in n and "seed 2" in n for n in summary.notes)


def test_only_the_promised_contrast_is_confirmatory():
    found = contrasts(made_frames(), read_analysis_plan(ANALYSIS))
    assert [(c.treatment, c.baseline, c.confirmatory) for c in found] == [
        ("gsspo", "grpo", True),
        ("gspo", "grpo", False),
    ]
    assert not any(c.confirmatory for c in contrasts(made_frames(), read_analysis_plan(None)))


def test_another_metric_contrasts_the_same_pairs_and_confirms_nothing():
    frames = made_frames()
    frames.metrics["metric"] = frames.metrics["metric"].str.replace("eval/em", "eval/em_sampled")
    rows = summarise(frames, metric="eval/em_sampled").contrasts
    assert {(r.contrast.treatment, r.contrast.baseline) for r in rows} == {("gsspo", "grpo"), ("gspo", "grpo")}
    assert not any(r.contrast.confirmatory for r in rows)


def test_a_plan_that_makes_no_sense_is_refused():
    with pytest.raises(AnalysisPlanError, match="primary"):
        read_analysis_plan({"margin": 0.1})
    with pytest.raises(AnalysisPlanError, match="correction"):
        read_analysis_plan({**ANALYSIS, "correction": "bonferoni"})
    with pytest.raises(AnalysisPlanError, match="alpha"):
        read_analysis_plan({**ANALYSIS, "alpha": 0})


def test_the_csv_holds_the_numbers_at_full_precision():
    summary = summarise(made_frames())
    rows = list(csv.reader(io.StringIO(summary.csv())))
    head = rows[0]
    first = dict(zip(head, rows[1], strict=True))
    assert float(first["final"]) == summary.arms[0].final.value


def test_p_values_are_never_printed_as_zero():
    assert format_p(0.0000001) == "<.0001"
    assert format_p(0.0625) == ".0625"
    assert format_p(1.0) == "1"
    assert format_p(None) == "–"


def test_the_configuration_hash_depends_on_settings_and_seeds_only():
    base = made_frames()
    assert made_frames().config_hash == base.config_hash
    assert made_frames(seeds=(0, 1, 2, 3)).config_hash != base.config_hash
    assert made_frames({"grpo": 0.1, "other": 0.2}).config_hash != base.config_hash
    assert json.dumps(base.config_hash)
