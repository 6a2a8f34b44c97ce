"""What a sweep lacks, a report says: never a NaN, never a claim from nothing."""

from __future__ import annotations

import dataclasses
import re
import warnings

import numpy as np
import pytest

from analysis.frames import Frames
from analysis.load import load_frames
from reports import write_report
from reports.chapters.all_chapters import CHAPTERS
from reports.report_data import gather_report_data
from tests.support.synthetic_episodes import random_episodes, write
from tests.support.synthetic_sweep import made_frames, write_sweep

ARMS = {"grpo": 0.1, "gsspo": 0.2}


def page_of(frames: Frames) -> str:
    """The page as text: no markup, no pictures, no style."""
    material = gather_report_data(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        text = write_report.render_report(material, [make(material) for make in CHAPTERS])
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>|base64,[^\"]*", "", text, flags=re.S)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE), re.search(r".{40}\b(nan|inf)\b", text, re.IGNORECASE)
    return text


def with_values(frames: Frames, value: float, arms: tuple[str, ...] = tuple(ARMS)) -> Frames:
    metrics = frames.metrics.copy()
    metrics.loc[metrics["arm"].isin(arms), "value"] = value
    return dataclasses.replace(frames, metrics=metrics)


def test_seeds_that_are_all_equal_give_no_interval():
    text = page_of(with_values(made_frames(ARMS, steps=(0, 5)), 0.25))
    assert "all values equal" in text
    assert "No evidence that EM of gsspo differs" in text
    assert "no spread" in text


def test_arms_that_are_certain_and_opposite_claim_the_sign_and_no_interval():
    frames = with_values(with_values(made_frames(ARMS, steps=(0, 5)), 0.0), 1.0, ("gsspo",))
    text = page_of(frames)
    assert "EM of gsspo is higher than that of grpo averaged over suites" in text
    assert "no spread between seeds: no interval" in text


def test_an_arm_without_a_single_number_is_named():
    text = page_of(with_values(made_frames(ARMS, steps=(0, 5)), np.nan, ("grpo",)))
    assert "grpo: no value of eval/em" in text
    assert "cannot be computed" in text


def test_a_sweep_of_one_arm_has_no_registered_contrast():
    text = page_of(made_frames({"gsspo": 0.2}, steps=(0, 5)))
    assert "The registered contrast, gsspo against grpo, cannot be computed" in text


def test_a_sweep_without_a_finished_trial_is_refused_with_reasons():
    frames = made_frames({"grpo": 0.1}, seeds=(0, 1), unfinished=("grpo_seed0", "grpo_seed1"))
    with pytest.raises(ValueError, match=r"none of 2 trials is included: grpo_seed0 \(no result\)"):
        gather_report_data(frames)


def test_excluded_trials_are_listed_before_any_number():
    frames = made_frames(ARMS, steps=(0, 5), unfinished=("grpo_seed1",))
    text = page_of(frames)
    assert text.index("1 excluded, see Trials") < text.index("Contrasts")
    assert "Excluded: grpo_seed1 (unfinished): no result." in text


def test_unequal_question_sets_refuse_pairing_with_a_warning(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames(ARMS, seeds=(0, 1, 2, 3), steps=(0, 5)))
    frames = load_frames(root)
    for i, trial in enumerate(frames.trials["trial"]):
        asked = 6 if trial.startswith("grpo") else 9
        write(root, trial, 5, "eval", random_episodes(np.random.default_rng(i), asked, (("one_hop", 1),)))
    text = page_of(load_frames(root))
    assert "The trials answered different questions of one_hop (6, 9 of them, 6 shared by all)" in text
    assert "the arms answered different questions" in text
    assert "No pair of checkpoints shares a seed and a question set." in text
