"""Measures that say how much a registered result bears."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from analysis.frames import Frames
from analysis.stats.permutation import seed_permutation
from analysis.stats.survival import logrank_permutation
from reports.findings.descriptive_measures import em_of_answered, metric_rises, threshold_steps, trace_means
from reports.findings.measure_registry import MEASURES, POOLED_MEASURES
from reports.findings.table_measures import report_table
from tests.unit.reports.test_findings import study


def with_values(made, metric: str, values: dict[tuple[str, int, int], float]):
    """`made` whose `metric` is given by (arm, seed, step)."""
    owner = made.frames.trials.set_index(["arm", "seed"])["trial"]
    rows = [(owner[a, s], a, s, t, metric, v) for (a, s, t), v in values.items()]
    old = made.frames.metrics
    new = pd.DataFrame(rows, columns=list(old.columns))
    frames = dataclasses.replace(made.frames, metrics=pd.concat([old[~old["metric"].str.startswith(metric)], new]))
    return dataclasses.replace(made, frames=frames)


def test_a_part_of_the_seeds_is_compared_alone():
    ends = {"gsspo": [0.1, 0.1, 0.1, 0.5, 0.6, 0.7], "grpo": [0.6, 0.7, 0.8, 0.3, 0.2, 0.1]}
    values = {(arm, s, t): v * t for arm, found in ends.items() for s, v in enumerate(found) for t in (0, 1)}
    found = MEASURES["seed_subset"](
        with_values(study(dict.fromkeys(ends, 0.2)), "eval/em", values), seeds=[3, 4, 5], reason="B."
    )
    row = found.table.iloc[0]
    assert row["difference"] == "+0.400"
    assert float(row["p"]) == pytest.approx(seed_permutation(ends["gsspo"][3:], ends["grpo"][3:]).p, abs=1e-4)
    assert found.sentences[0].startswith("B. Over seeds 3–5 alone gsspo − grpo is +40.0 points")


def test_the_difference_is_given_at_every_evaluation_and_corrected_over_them():
    gap = {5: 0.3, 10: -0.1, 15: 0.0}
    values = {
        (arm, s, t): 0.4 + s / 100 + (gap.get(t, 0.0) if arm == "gsspo" else 0.0)
        for arm in ("gsspo", "grpo")
        for s in range(6)
        for t in (0, *gap)
    }
    found = MEASURES["contrast_by_step"](with_values(study({"gsspo": 0.2, "grpo": 0.2}), "eval/em", values))
    assert list(found.table["step"]) == ["5", "10", "15"]
    assert list(found.table["difference"]) == ["+0.300", "-0.100", "+0.000"]
    raw = [float(p) for p in found.table["p"]]
    assert float(found.table["p adj."][0]) == pytest.approx(3 * raw[0], abs=2e-4)
    assert "between -10.0 points (step 10) and +30.0 points (step 5)" in found.sentences[0]
    assert "holds at step 15." in found.sentences[0]


def test_questions_that_all_runs_answer_alike_are_counted():
    made = study({"gsspo": 0.2, "grpo": 0.2})
    runs = [("t1", "gsspo"), ("t2", "grpo")]
    right = {("a", 0): (1, 1), ("a", 1): (0, 0), ("a", 2): (1, 0), ("b", 0): (0, 0)}
    rows = [
        {"trial": trial, "arm": arm, "suite": suite, "question": question, "em": float(ems[i])}
        for (suite, question), ems in right.items()
        for i, (trial, arm) in enumerate(runs)
    ]
    greedy = dataclasses.replace(made.greedy, episodes=pd.DataFrame(rows))
    found = MEASURES["uniform_questions"](dataclasses.replace(made, greedy=greedy))
    assert found.table.to_numpy().tolist() == [["a", 3, 1, 1], ["b", 1, 0, 1]]
    assert (
        "Of the 4 questions 1 are right in all 2 runs and 2 wrong in all of them: those 75% cannot"
        in found.sentences[0]
    )


@pytest.mark.parametrize(
    ("gap", "said"),
    [(0.0, "lies within the interval here"), (0.3, "excludes that"), (0.0155, "excludes one end of that")],
)
def test_the_published_difference_is_set_beside_the_interval(gap, said):
    spread = 0.02 if gap == 0.0 else 0.0004
    values = {
        (arm, s, t): t * (0.4 + spread * s + (gap if arm == "gsspo" else 0.0))
        for arm in ("gsspo", "grpo")
        for s in range(6)
        for t in (0, 1)
    }
    made = with_values(study({"gsspo": 0.2, "grpo": 0.2}), "eval/em", values)
    text = MEASURES["published_gap"](made, pair=["gsspo", "grpo"]).sentences[0]
    assert "+0.6 points to +1.6 points on the mean of its benchmarks, +0.3 points to +3.6 points on single ones" in text
    assert said in text


def test_arms_with_constant_rewards_are_reported_as_not_learning():
    values = {(arm, s, t): float(arm == "gsspo") for arm in ("gsspo", "grpo") for s in range(6) for t in range(1, 4)}
    made = with_values(study({"gsspo": 0.2, "grpo": 0.2}), "train/reward_std", values)
    told = trace_means(made, ["train/reward_std"]).sentences
    assert told[0] == "train/reward_std ranges from 0 (grpo) to 1 (gsspo)."
    assert told[1].startswith("In every step of every run of grpo all rewards were equal")


def test_steps_to_a_threshold_count_runs_that_never_hold_it():
    slow = {0: 1, 1: 1, 2: 2, 3: 2, 4: 3, 5: 9}  # evaluation from which a seed holds .5; 9: never
    steps = range(5)
    values = {("gsspo", s, t): 0.6 if t >= 1 else 0.0 for s in range(6) for t in steps}
    values |= {("grpo", s, t): 0.6 if t >= slow[s] else 0.0 for s in range(6) for t in steps}
    made = with_values(study({"gsspo": 0.2, "grpo": 0.2}), "eval/em", values)
    found = threshold_steps(made, beside=[0.5])
    assert list(found.table["steps to 0.500"]) == ["1", "2.17 (1)"]
    p = logrank_permutation([1] * 6, [True] * 6, [1, 1, 2, 2, 3, 4], [True] * 5 + [False]).p
    assert f"gsspo − grpo at 0.500 {str(round(min(1.0, 2 * p), 4)).lstrip('0')}" in found.sentences[-1]


def test_a_stored_table_gives_its_extremes_its_total_and_its_least_p():
    made = study({"gsspo": 0.2, "grpo": 0.2})
    rows = {"arm": ["a", "b"], "hops": [1, 3], "rate": [0.25, 0.5], "events": [2, 3], "p_adjusted": [0.5, 0.04]}
    made.tables["made"] = pd.DataFrame(rows)
    assert report_table(
        made, "made", columns=["arm", "rate"], extremes={"of": "rate", "by": ["arm", "hops"]}, total="events"
    ).sentences == [
        "`made`: rate from 0.250 (a, hops 1) to 0.500 (b, hops 3).",
        "`made`: 5 events in all.",
        "`made`: least p adj. of 2 rows .04.",
    ]


def test_the_power_is_that_of_the_registered_arms():
    from analysis.projected_power import planned_arms, pooled_sd, project_power

    made = study({"gsspo": 0.2, "grpo": 0.2, "gspo": 0.2})
    frames: Frames = made.frames
    assert planned_arms(frames, made.plan) == ["gsspo", "grpo"]
    noisy = {("gspo", s, 1): 0.9 * (s % 2) for s in range(6)}
    values = {(a, s, 1): 0.1 + 0.01 * s for a in ("gsspo", "grpo") for s in range(6)}
    made = with_values(made, "eval/em", values | noisy)
    expected = float(pd.Series([0.1 + 0.01 * s for s in range(6)]).std())
    assert project_power(made.frames, made.plan).sd == pytest.approx(expected)
    assert pooled_sd(made.frames, "eval/em", list(frames.arms))[0] > 5 * expected


def half_of(seeds, gap: float):
    """A study of some seeds in which gsspo leads grpo by `gap` at step 10, and by nothing at the start."""
    values = {
        (arm, s, t): 0.4 + s / 100 + (gap if (arm, t) == ("gsspo", 10) else 0.0)
        for arm in ("gsspo", "grpo")
        for s in range(6)
        for t in (0, 10)
    }
    made = with_values(study({"gsspo": 0.2, "grpo": 0.2}), "eval/em", values)
    parts = {
        name: frame[frame["seed"].isin(seeds)]
        for name, frame in (("trials", made.frames.trials), ("metrics", made.frames.metrics))
    }
    return dataclasses.replace(made, frames=dataclasses.replace(made.frames, **parts))


def test_pairs_of_several_studies_are_pooled():
    found = POOLED_MEASURES["paired_by_seed"](
        [half_of([0, 1, 2], 0.1), half_of([3, 4, 5], 0.3)], pair=["gsspo", "grpo"], metrics=["eval/em"]
    )
    assert list(found.table["at"]) == ["step 10", "area under the curve"]
    assert list(found.table["pairs"]) == ["6", "6"]
    assert list(found.table.iloc[:, 3]) == ["+20.00", "+10.00"]
    assert [float(p) for p in found.table["p"]] == pytest.approx([2 / 2**6] * 2, abs=1e-4)
    assert found.sentences[0].startswith("Exploratory: EM, gsspo − grpo: +20.00 points")


def test_a_seed_of_two_studies_is_not_pooled_twice():
    with pytest.raises(ValueError, match=r"seeds \[2\]"):
        POOLED_MEASURES["paired_by_seed"](
            [half_of([0, 1, 2], 0.1), half_of([2, 3], 0.1)], pair=["gsspo", "grpo"], metrics=["eval/em"]
        )


def test_the_rise_among_answered_episodes_is_separated_from_the_rise_in_format():
    arms = {"gsspo": 0.2, "grpo": 0.2}
    ends = {"eval/em": (0.06, 0.12), "eval/no_answer": (0.5, 0.0)}
    made = study(arms)
    for metric, values in ends.items():
        given = {(a, s, t): values[t > 0] for a in arms for s in range(6) for t in (0, 10)}
        made = with_values(made, metric, given)
    assert metric_rises(made).sentences == ["The rise of EM ranges from +0.060 (gsspo) to +0.060 (gsspo)."]
    (sentence,) = em_of_answered(made).sentences
    assert "from 0.120 to 0.120 (gsspo), 0.120 to 0.120 (grpo): less than the margin" in sentence
