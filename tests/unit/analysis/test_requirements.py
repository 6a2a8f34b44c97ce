"""Manipulation checks and controls: each holds exactly where its quantity meets the bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.check_result import failed
from analysis.episode_frames import EPISODE_COLUMNS, TURN_COLUMNS, Episodes
from analysis.frames import Arm, Frames, metrics_frame, trials_frame
from analysis.registered_plan import AnalysisPlan
from analysis.requirements import DESIGN_CHECKS, Evidence, evaluate_requirements

PLAN = AnalysisPlan(metric="eval/em", axis="objective.preset", treatment="new", baseline="old")
SEEDS = range(6)


def frames(**values: dict[str, list[float]]) -> Frames:
    """A sweep of two arms and six seeds; `values[arm][metric]` is [start, end], the same for each seed up to ±.001."""
    trials, metrics = [], []
    for arm, logged in values.items():
        for seed in SEEDS:
            trial = f"{arm}{seed}"
            trials.append((trial, arm, seed, "done", True, "", 2, arm))
            for metric, by_step in logged.items():
                for step, value in zip((0, 2), by_step, strict=True):
                    noise = 0.001 * (seed - 2.5)
                    metrics.append((trial, arm, seed, step, metric, value + noise))
    columns = ["trial", "arm", "seed", "status", "included", "reason", "steps", "config_hash"]
    return Frames(
        "demo",
        {},
        trials_frame(pd.DataFrame(trials, columns=columns).to_dict("records")),
        metrics_frame(
            pd.DataFrame(metrics, columns=["trial", "arm", "seed", "step", "metric", "value"]).to_dict("records")
        ),
        {arm: Arm(arm, {"objective.preset": arm}, arm) for arm in values},
    )


def check(evidence: Evidence, **settings: object) -> tuple[bool, float | None]:
    (result,) = evaluate_requirements([settings], evidence)
    return result.holds, result.observed


def test_a_level_is_required_of_every_arm_or_of_some_arm():
    found = Evidence(frames(new={"eval/turns": [2, 5]}, old={"eval/turns": [2, 2.5]}), PLAN)
    level = {"kind": "level", "metric": "eval/turns", "at_least": 3}
    assert check(found, **level) == (False, pytest.approx(2.5))
    assert check(found, **level, of="some")[0]
    assert check(found, kind="level", metric="eval/turns", at_most=5.1)[0]


def test_compared_arms_differ_or_agree_by_their_means_over_training_steps():
    found = Evidence(
        frames(new={"update/clip_fraction": [9.0, 0.30]}, old={"update/clip_fraction": [9.0, 0.10]}), PLAN
    )  # step 0 is before training and does not count
    assert check(found, kind="differ", metric="update/clip_fraction", at_least=0.15) == (True, pytest.approx(0.2))
    assert not check(found, kind="differ", metric="update/clip_fraction", at_least=0.25)[0]
    assert check(found, kind="agree", metric="update/clip_fraction", at_most=0.25)[0]
    assert not check(found, kind="agree", metric="update/clip_fraction", at_most=0.15)[0]


def test_a_rise_that_is_only_more_answers_is_not_learning_beyond_form():
    rise = {"eval/em": [0.10, 0.20], "eval/no_answer": [0.5, 0.0]}
    found = Evidence(frames(new=rise, old=rise), PLAN)
    learns = {"kind": "learns", "metric": "eval/em", "at_least": 0.05}
    assert check(found, **learns) == (True, pytest.approx(0.1))
    assert check(found, **learns, beyond_form=True) == (False, pytest.approx(0.0, abs=0.005))


def test_an_operator_counts_as_called_by_the_arm_of_the_treatment_that_calls_it_least():
    rows = [
        ("new", "eval_sampled", 2, "Review", 0.2),
        ("new", "eval", 2, "Review", 0.0),
        ("old", "eval_sampled", 2, "Review", 0.9),
    ]
    use = pd.DataFrame(rows, columns=["arm", "split", "step", "operator", "share"])
    found = Evidence(frames(new={}, old={}), PLAN, operator_use=use)
    assert check(found, kind="called", operator="Review", at_least=0.15) == (True, pytest.approx(0.2))
    assert check(found, kind="called", operator="Revise", at_least=0.05) == (False, 0.0)


def episodes(right: np.ndarray) -> Episodes:
    """Greedy answers, `right` [runs, questions]."""
    runs, questions = right.shape
    rows = pd.DataFrame(
        {
            "trial": np.repeat([f"t{i}" for i in range(runs)], questions),
            "suite": "s",
            "question": np.tile(np.arange(questions), runs),
            "em": right.ravel().astype(float),
        }
    ).reindex(columns=EPISODE_COLUMNS)
    return Episodes(rows, pd.DataFrame(columns=TURN_COLUMNS), {})


def test_questions_that_all_runs_answer_alike_do_not_discriminate():
    right = np.zeros((10, 4))
    right[:, 0] = 1  # always right
    right[:5, 1] = 1  # half of the runs
    right[:1, 2] = 1  # exactly the lower bound, which is exclusive
    found = Evidence(frames(new={}, old={}), PLAN, episodes(right))
    assert check(found, kind="discriminates", at_least=0.25) == (True, 0.25)
    assert check(found, kind="discriminates", at_least=0.5) == (False, 0.25)


def test_exposures_are_those_of_the_arm_that_has_fewest():
    found = Evidence(frames(new={}, old={}), PLAN, exposures={"new": 120, "old": 80})
    assert check(found, kind="exposed", at_least=100) == (False, 80.0)
    assert check(found, kind="exposed", at_least=80)[0]


@pytest.mark.parametrize(
    ("difference", "holds"), [(0.0, {"none"}), (0.05, {"higher"}), (-0.05, {"lower"})], ids=["null", "up", "down"]
)
def test_a_control_holds_where_the_interval_is_on_the_expected_side(difference, holds):
    found = Evidence(frames(new={"eval/em": [0, 0.5 + difference]}, old={"eval/em": [0, 0.5]}), PLAN)
    control = {"kind": "control", "metric": "eval/em", "contrast": ["new", "old"]}
    assert {e for e in ("none", "higher", "lower") if check(found, **control, expect=e)[0]} == holds


def factorial(metric: str, ends: dict[tuple[str, str], float]) -> Evidence:
    """Arms (preset, pool) with these values at the last step."""
    found = frames(**{f"{preset}_{pool}": {metric: [0, value]} for (preset, pool), value in ends.items()})
    arms = {
        label: Arm(label, dict(zip(("objective.preset", "environment.pool"), label.split("_"), strict=True)), label)
        for label in found.arms
    }
    return Evidence(replace(found, arms=arms), PLAN)


def test_arms_have_to_differ_in_every_stratum_of_the_contrast_and_to_agree_in_every_one():
    ends = {("new", "a"): 0.5, ("old", "a"): 0.2, ("new", "b"): 0.5, ("old", "b"): 0.4}
    found = factorial("eval/turns", ends)
    assert check(found, kind="differ", metric="eval/turns", at_least=0.2) == (False, pytest.approx(0.1))
    assert check(found, kind="agree", metric="eval/turns", at_most=0.2) == (False, pytest.approx(0.3))


def test_a_control_compares_arms_that_differ_in_its_axis_alone():
    """The first arm of pool a is of another preset than the only arm of pool b."""
    ends = {("new", "a"): 0.9, ("old", "a"): 0.5, ("old", "b"): 0.5}
    control = {"kind": "control", "metric": "eval/em", "axis": "environment.pool", "contrast": ["b", "a"]}
    found = factorial("eval/em", ends)
    assert check(found, **control, expect="none") == (True, pytest.approx(0.0))
    del ends["old", "a"]
    assert check(factorial("eval/em", ends), **control, expect="lower") == (False, None)


@pytest.mark.parametrize("name", sorted(DESIGN_CHECKS))
def test_what_was_not_measured_fails_and_says_so(name):
    settings = {
        "metric": "eval/nothing", "operator": "Review", "at_least": 1, "at_most": 1, "contrast": ["new", "old"],
        "expect": "none",
    }  # fmt: skip
    (result,) = evaluate_requirements([{"kind": name, **settings}], Evidence(frames(new={}, old={}), PLAN))
    assert failed([result]) == [result]
    assert result.observed is None
    assert "not measured" in result.sentence
