"""The modules that answer one question each, on episodes whose answers are known by construction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis import convergence, exact_match, operator_use, parse_reliability, robustness, self_correction, transitions
from analysis.compare import compare_arms, group_seed_values
from analysis.episode_frames import load_episodes, read_rows
from analysis.frames import metrics_frame
from analysis.load import load_frames
from analysis.registered_plan import contrasts, read_analysis_plan
from analysis.stats.lagged_correlation import LaggedCorrelation
from analysis.stats.types import DegenerateInput
from analysis.study_design import StudyDesign, assess_design
from harness.env.diagnostics import RunningSignatures
from harness.runs.episode_loader import trajectory
from harness.types import OperatorFailure
from tests.support.synthetic_episodes import answer, call, episode, malformed, random_episodes, write
from tests.support.synthetic_sweep import ANALYSIS, made_frames, write_sweep

ARMS = {"grpo": 0.1, "gsspo": 0.2}
MALFORMED = {"grpo": 0.4, "gsspo": 0.1}
EM = {"grpo": 0.3, "gsspo": 0.7}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Two arms, four seeds, one greedy evaluation: gsspo is right more often and malformed less often."""
    root = write_sweep(tmp_path_factory.mktemp("sweep") / "s", made_frames(ARMS, seeds=(0, 1, 2, 3)))
    frames = load_frames(root)
    for i, (trial, arm) in enumerate(zip(frames.trials["trial"], frames.trials["arm"], strict=True)):
        episodes = random_episodes(np.random.default_rng(i), 25, malformed_rate=MALFORMED[arm], em=EM[arm])
        write(root, trial, 20, "eval", episodes)
    return frames, load_episodes(frames, ["eval"])


@pytest.fixture
def plan():
    return read_analysis_plan(ANALYSIS)


def test_em_by_hops_is_the_mean_over_seeds(evaluated):
    _, data = evaluated
    table = exact_match.by_hops(data)
    frame = data.episodes
    for row in table.itertuples():
        part = frame[(frame["arm"] == row.arm) & (frame["hops"] == row.hops)]
        assert row.em == pytest.approx(part.groupby("seed")["em"].mean().mean())
        assert row.low < row.em < row.high
        assert row.questions == 25


def test_score_matrices_refuse_seeds_that_answered_different_questions(evaluated):
    _, data = evaluated
    scores = exact_match.score_matrix(data, "grpo", "one_hop")
    assert scores.matrix.shape == (4, 25)
    dropped = data.of(~((data.episodes["seed"] == 2) & (data.episodes["index"] == 3)))
    with pytest.raises(DegenerateInput, match="different questions"):
        exact_match.score_matrix(dropped, "grpo", "one_hop")
    with pytest.raises(DegenerateInput, match="no episode"):
        exact_match.score_matrix(data, "grpo", "nowhere")


def test_every_route_to_a_contrast_agrees_on_the_difference(evaluated, plan):
    frames, data = evaluated
    found = contrasts(frames, plan)
    rows = compare_arms(group_seed_values(data.episodes, "suite", "em"), found, plan)
    checks = exact_match.cross_checks(data, found, plan).set_index("suite")
    for r in rows:
        assert r.difference.value == pytest.approx(checks.at[r.group, "difference"])
        assert checks.at[r.group, "cluster_low"] < r.difference.value < checks.at[r.group, "cluster_high"]
        assert checks.at[r.group, "note"] == ""
        assert r.difference.value > 0.1


def test_checkpoint_claims_are_labelled(evaluated, plan):
    frames, data = evaluated
    claims = exact_match.checkpoint_claims(data, contrasts(frames, plan), plan)
    assert len(claims) == 2 * 4
    assert set(claims["claim"]) == {"these two checkpoints only"}
    sentence = exact_match.checkpoint_sentence(claims, 0.05)
    assert "none about the algorithms" in sentence
    assert exact_match.checkpoint_sentence(claims.iloc[:0], 0.05).startswith("No pair")


def test_aggregates_order_the_arms(evaluated, plan):
    frames, data = evaluated
    table = exact_match.aggregates(data, list(frames.arms), contrasts(frames, plan)).set_index("of")
    assert table.at["gsspo", "value"] > table.at["grpo", "value"]
    assert table.at["gsspo > grpo", "value"] == 1.0
    assert set(exact_match.profiles(data, list(frames.arms))["arm"]) == {"grpo", "gsspo"}


def test_parse_rates_count_turns(evaluated):
    _, data = evaluated
    table = parse_reliability.parse_rates(data, ["arm", "hops"])
    turns = data.turn_frame("arm", "hops")
    for row in table.itertuples():
        part = turns[(turns["arm"] == row.arm) & (turns["hops"] == row.hops)]
        assert row.turns == len(part)
        assert row.rate == pytest.approx(part["ok"].mean())
        assert row.low <= row.rate <= row.high
    by_arm = parse_reliability.parse_rates(data).set_index("arm")
    assert by_arm.at["gsspo", "rate"] > by_arm.at["grpo", "rate"]


def test_failure_kinds_add_up_and_absent_ones_get_a_bound(evaluated):
    _, data = evaluated
    table = parse_reliability.failure_kinds(data)
    assert set(table["kind"]) == {"missing_action", "unclosed_tag"}
    assert table["failures"].sum() == (~data.turns["ok"]).sum()
    clean = data.of((data.episodes["n_ok"] == data.episodes["n_turns"]) | (data.episodes["arm"] == "grpo"))
    zero = parse_reliability.failure_kinds(clean).query("arm == 'gsspo'")
    assert (zero["failures"] == 0).all()
    assert ((zero["high"] > 0) & (zero["high"] < 0.2)).all()
    assert zero["note"].str.contains("rule of three").all()


def test_parse_rates_of_arms_are_compared_by_seed(evaluated, plan):
    frames, data = evaluated
    rows = compare_arms(parse_reliability.seed_parse_rates(data, "suite"), contrasts(frames, plan), plan)
    assert all(r.n_seeds == (4, 4) and r.difference.value > 0 for r in rows)
    assert all(r.test.p == pytest.approx(2 / 70) for r in rows)


def test_complexity_has_an_interaction_term(evaluated):
    _, data = evaluated
    em, odds = parse_reliability.hops_regressions(data)
    assert np.isfinite(em["failure x hops"].se)
    assert odds["hops"].value > 0  # more hops, more turns that can be malformed
    few = data.of((data.episodes["n_ok"] == data.episodes["n_turns"]) | (np.arange(len(data.episodes)) < 10))
    with pytest.raises(DegenerateInput, match="too few"):
        parse_reliability.hops_regressions(few)
    unknown = dataclasses.replace(data, episodes=data.episodes.assign(hops=-1))
    with pytest.raises(DegenerateInput, match="hops"):
        parse_reliability.hops_regressions(unknown)


def with_traces(frames, make, length=30):
    rows = []
    for i, trial in enumerate(frames.trials.itertuples()):
        for name, values in make(np.random.default_rng(i), length).items():
            rows += [
                {"trial": trial.trial, "arm": trial.arm, "seed": trial.seed, "step": s, "metric": name, "value": v}
                for s, v in enumerate(values)
            ]
    metrics = pd.concat([frames.metrics, metrics_frame(rows)], ignore_index=True)
    return dataclasses.replace(frames, metrics=metrics)


def test_malformed_turns_that_precede_a_fall_of_em_are_found_at_their_lag():
    def make(rng, n):
        failure = rng.random(n) * 0.5
        em = 0.5 + rng.normal(0, 0.02, n)
        em[1:] -= failure[:-1]
        return {
            "train/parse_ok_rate": 1 - failure,
            "train/em": em,
            "train/reward_std": rng.random(n),
            "update/grad_norm": rng.random(n),
            "train/reward_mean": em - failure,  # contains the format score: must not be used
        }

    frames = with_traces(made_frames(ARMS, seeds=(0, 1, 2)), make)
    table = parse_reliability.link_table(parse_reliability.link_to_learning(frames)).set_index(["arm", "trace"])
    assert table.at[("grpo", "EM"), "lag"] == 1
    assert table.at[("grpo", "EM"), "rho"] < -0.4
    assert table.at[("grpo", "EM"), "p"] < 0.05
    assert table.at[("gsspo", "gradient norm"), "p"] > 0.01
    assert set(table.index.get_level_values("trace")) == {"EM", "reward spread", "gradient norm"}


def test_traces_that_are_too_short_give_a_reason():
    links = parse_reliability.link_to_learning(made_frames(ARMS))
    assert not any(isinstance(v, LaggedCorrelation) for v in links.values())
    assert parse_reliability.link_table(links)["note"].str.contains("no run logged").all()


def test_instability_counts_cliffs_and_what_came_before():
    def make(rng, n):
        variance, norm = np.full(n, 0.5), np.ones(n)
        variance[20], norm[25] = 0.05, np.nan
        ok = np.full(n, 0.95)
        ok[17:20] = 0.5
        return {"train/parse_ok_rate": ok, "train/reward_variance": variance, "update/grad_norm_max": norm}

    frames = with_traces(made_frames(ARMS, seeds=(0, 1)), make)
    table = parse_reliability.instability_table(frames).set_index(["arm", "event"])
    row = table.loc[("grpo", "reward-variance cliff")]
    assert row["events"] == 2
    assert row["failure_before"] == pytest.approx(0.5)
    assert row["failure_else"] == pytest.approx(0.05)
    assert table.loc[("grpo", "gradient spike"), "events"] == 2
    assert table.loc[("grpo", "gradient spike"), "failure_before"] == pytest.approx(0.05)
    quiet = parse_reliability.instability_table(with_traces(made_frames(ARMS, seeds=(0,)), lambda rng, n: {}))
    assert (quiet["runs"] == 0).all()
    assert (quiet["failure_before"] == "").all()


def test_events_are_those_that_training_itself_flags():
    rng = np.random.default_rng(0)
    variance, norm = np.exp(rng.normal(0, 1.2, 60)), np.exp(rng.normal(0, 1.2, 60))
    state, flagged = RunningSignatures(), []
    for v, g in zip(variance, norm, strict=True):
        state, flags = state.observe(v, g)
        flagged.append(flags)
    make = {"train/parse_ok_rate": np.ones(60), "train/reward_variance": variance, "update/grad_norm_max": norm}
    found = parse_reliability.instability_events(with_traces(made_frames(ARMS, seeds=(0,)), lambda rng, n: make))[
        "grpo_seed0"
    ]
    for event, flag in parse_reliability.INSTABILITY_EVENTS.items():
        assert found[event].tolist() == [bool(f[flag]) for f in flagged]
    assert found["gradient spike"].any()
    assert found["reward-variance cliff"].any()


def faulted_pairs(root, frames):
    """Per trial: 4 questions recover after an extra call, 3 answer wrong, 1 was wrong anyway; 1 was not exposed."""
    for trial in frames.trials["trial"]:
        plain = [call(), answer()]
        twins = [episode(plain, f"q{i}", em=float(i != 7)) for i in range(9)]
        twins[5] = episode([call(), call(), answer()], "q5")  # the same sign without any fault: a false alarm
        hit = [call(fault="wrong_passage"), call(), answer()]  # the same call again: a sign of detection
        lazy = [call(fault="empty_result", failure=OperatorFailure.EMPTY), answer("?")]
        faulted = [episode(hit, f"q{i}") for i in range(4)] + [episode(lazy, f"q{i}", em=0.0) for i in range(4, 8)]
        faulted.append(episode(plain, "q8"))
        write(root, trial, 20, "eval_twin", twins)
        write(root, trial, 20, "eval_fault", faulted)


def test_faults_are_measured_against_their_twins(tmp_path, plan):
    root = write_sweep(tmp_path / "s", made_frames(ARMS, seeds=(0, 1, 2, 3)))
    frames = load_frames(root)
    faulted_pairs(root, frames)
    pairs = self_correction.exposures(load_episodes(frames), cap=10)
    assert len(pairs) == 8 * len(frames.trials)
    row = self_correction.exposure_table(pairs).set_index("arm").loc["grpo"]
    assert row["exposures"] == 32
    assert row["detected"] == pytest.approx(0.5)
    assert row["detected_twin"] == pytest.approx(1 / 8)
    assert row["accepted"] == pytest.approx(0.5)
    assert row["recovered"] == pytest.approx(0.5)
    assert row["effect"] == pytest.approx(4 / 8 - 7 / 8)
    assert row["hurt"] == pytest.approx(3 / 7)
    kinds = self_correction.exposure_table(pairs, ["fault"]).set_index("fault")
    assert kinds.at["wrong_passage", "recovered"] == 1
    assert kinds.at["empty_result", "recovered"] == 0
    assert set(pairs.loc[pairs["recovered"], "time"]) == {2}
    assert set(pairs.loc[~pairs["recovered"], "time"]) == {9}
    curve = self_correction.recovery_curves(pairs)["grpo"]
    assert curve.survival[-1] == pytest.approx(0.5)
    moves = self_correction.after_fault(pairs).set_index(["fault", "next"])
    assert moves.at[("wrong_passage", "Search"), "share"] == 1
    assert moves.at[("wrong_passage", "answer"), "twin_count"] == 4 * len(frames.trials)
    assert moves.at[("empty_result", "Search"), "twin_count"] == len(frames.trials)
    rows = compare_arms(self_correction.seed_fault_effects(pairs), contrasts(frames, plan), plan)
    assert rows[0].difference.value == 0
    assert rows[0].test.p == 1
    fit = self_correction.fault_interaction(pairs, contrasts(frames, plan)[0])
    assert fit.note or abs(fit["fault x arm"].value) < 1e-6


def test_episodes_struck_and_exposed_are_counted_of_all(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames(ARMS, seeds=(0, 1)))
    frames = load_frames(root)
    faulted_pairs(root, frames)
    unread = [call(), call(fault="timeout")]  # the episode ended with the fault
    for trial in frames.trials.loc[frames.trials["arm"] == "grpo", "trial"]:
        write(root, trial, 20, "eval_fault", [episode(unread, "q1", em=0.0), episode([call(), answer()], "q2")])
    counts = self_correction.fault_counts(load_episodes(frames)).set_index("arm")
    assert counts.loc["grpo"].to_dict() == {"episodes": 4, "struck": 2, "exposed": 0}
    other = next(arm for arm in counts.index if arm != "grpo")
    assert counts.loc[other].to_dict() == {"episodes": 18, "struck": 16, "exposed": 16}


def test_exposures_without_twins_or_faults_are_refused(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    frames = load_frames(root)
    write(root, "grpo_seed0", 20, "eval_fault", [episode([call(fault="timeout"), answer()], "q1")])
    with pytest.raises(DegenerateInput, match="no fault-free counterpart"):
        self_correction.exposures(load_episodes(frames))
    last = [call(), malformed(), call(fault="timeout")]  # never got to react
    write(root, "grpo_seed0", 20, "eval_fault", [episode([call(), answer()], "q1"), episode(last, "q2", em=0.0)])
    with pytest.raises(DegenerateInput, match="no episode was exposed"):
        self_correction.exposures(load_episodes(frames))


def test_rows_become_the_trajectories_they_were(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    turns = [malformed(), call(fault="wrong_verdict"), call("Review", failure=OperatorFailure.TIMEOUT), answer()]
    original = episode(turns, "q3", hops=None, seed=17)
    write(root, "grpo_seed0", 20, "eval", [original])
    path = load_episodes(load_frames(root)).source["grpo_seed0", 20, "eval"]
    rebuilt = trajectory(read_rows(path, [0])[0])
    assert rebuilt.question == original.question
    assert (rebuilt.reward, rebuilt.stop, rebuilt.failures) == (original.reward, original.stop, original.failures)
    assert rebuilt.sample_seed == 17
    for ours, theirs in zip(rebuilt.turns, original.turns, strict=True):
        assert ours.parsed == theirs.parsed
        assert ours.result == theirs.result
        assert len(ours.tokens) == len(theirs.tokens)
        assert len(ours.observation_tokens) == len(theirs.observation_tokens)
        assert sum(ours.logprobs) == pytest.approx(sum(theirs.logprobs))


def test_transitions_count_every_turn_once(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    first = [malformed(), call(failure=OperatorFailure.TIMEOUT), call("Review", fault="wrong_verdict"), answer()]
    write(root, "grpo_seed0", 20, "eval", [episode(first), episode([malformed()] * 3, "q1", em=0.0)])
    data = load_episodes(load_frames(root))
    table = transitions.failure_transitions(data)
    assert table.at["malformed", "malformed"] == 2
    assert table.at["malformed", "failed call"] == 1
    assert table.at["failed call", "faulted call"] == 1
    assert table.at["faulted call", "answer"] == 1
    assert table.at["malformed", "no answer"] == 1
    assert table.to_numpy().sum() == 6
    moves = transitions.operator_transitions(data)
    assert moves.at["Search", "Review"] == 1
    assert moves.at["Review", "answer"] == 1


def test_operators_are_counted_by_episode_and_zero_calls_have_a_row(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1, "gsspo": 0.2}, seeds=(0,)))
    twice = [call(), call("Review"), call("Review"), answer()]
    write(root, "grpo_seed0", 20, "eval", [episode(twice, "q0"), episode([call(), answer()], "q1")])
    write(root, "gsspo_seed0", 20, "eval", [episode([malformed(), answer()], "q0"), episode([call(), answer()], "q1")])
    table = operator_use.operator_use(load_episodes(load_frames(root))).set_index(["arm", "operator"])
    review, never = table.loc[("grpo", "Review")], table.loc[("gsspo", "Review")]
    assert (review["episodes"], review["calls"], review["called"], review["share"]) == (2, 2, 1, 0.5)
    assert (never["calls"], never["called"], never["share"]) == (0, 0, 0.0)
    assert never["high"] == pytest.approx(1 - 0.05**0.5)  # no case in two questions
    assert table.loc[("grpo", "Search"), "called"] == 2
    assert table.loc[("gsspo", "Search"), "called"] == 1


def test_slips_time_the_first_failure_and_the_way_back(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    episodes = [
        [call(), malformed(), malformed(), call(), answer()],  # fails in turn 2, back after two turns
        [call(), answer()],  # never fails
        [call(), malformed(), malformed()],  # never back
    ]
    write(root, "grpo_seed0", 20, "eval", [episode(t, f"q{i}") for i, t in enumerate(episodes)])
    data = load_episodes(load_frames(root))
    rows = transitions.parse_failure_times(data)
    assert rows["first"].tolist() == [2, 2, 2]
    assert rows["failed"].tolist() == [True, False, True]
    assert rows["recovered"].tolist() == [True, False, False]
    assert rows["recovery"].tolist() == [2, 0, 1]
    first, back = transitions.parse_failure_curves(data)
    assert first["grpo"].n == 3
    assert back["grpo"].n == 2


def test_second_looks_show_what_a_review_did_to_a_right_answer(tmp_path):
    root = write_sweep(tmp_path / "s", made_frames({"grpo": 0.1}, seeds=(0,)))
    right, wrong = (call("AnswerGenerate", observation=f"Thought: hm\nAnswer: {a}") for a in ("The Paris", "Rome"))
    review = call("Review", observation="It is wrong.")
    episodes = [
        episode([right, review, answer("Rome")], "q0", em=0.0),  # hurt
        episode([right, review, answer("Paris")], "q1", em=1.0),  # kept
        episode([wrong, review, answer("Paris")], "q2", em=1.0),  # fixed
        episode([right, answer("Paris")], "q3", em=1.0),  # no second look
        episode([review, answer("Paris")], "q4", em=1.0),  # nothing to look at
    ]
    write(root, "grpo_seed0", 20, "eval", episodes)
    table = transitions.candidate_review_table(transitions.candidate_reviews(load_episodes(load_frames(root)))).iloc[0]
    assert (table["looks"], table["right_lost"], table["right_kept"], table["wrong_fixed"]) == (3, 1, 1, 1)
    assert table["hurt"] == 0.5
    assert table["helped"] == 1.0


def test_areas_and_times_follow_the_effects(plan):
    frames = made_frames({"grpo": 0.1, "gsspo": 0.3}, steps=tuple(range(0, 41, 5)))
    row = compare_arms(convergence.curve_areas(frames), contrasts(frames, plan), plan)[0]
    assert row.difference.value == pytest.approx(0.1, abs=0.02)
    found = convergence.threshold_times(frames, threshold=0.35)
    assert found.fixed
    table = convergence.threshold_table(found, contrasts(frames, plan)).iloc[0]
    assert table["reached"] == "5 of 5 v 0 of 5"
    assert table["p_logrank"] < 0.01
    assert table["steps"] < 0
    assert not convergence.threshold_times(frames).fixed
    assert read_analysis_plan({**ANALYSIS, "threshold": 0.35}).threshold == 0.35


def test_a_threshold_that_no_run_reaches_is_no_test(plan):
    frames = made_frames(ARMS)
    table = convergence.threshold_table(
        convergence.threshold_times(frames, threshold=0.99), contrasts(frames, plan)
    ).iloc[0]
    assert table["p_logrank"] == 1.0
    assert table["steps"] == 0
    assert table["note"] == "no event in either arm"


def test_a_collapsed_run_is_counted():
    frames = made_frames(ARMS)
    hit = (frames.metrics["trial"] == "grpo_seed1") & (frames.metrics["step"] == 20)
    frames.metrics.loc[hit, "value"] = 0.01
    table = convergence.stability_table(frames).set_index("arm")
    assert table.at["grpo", "collapsed"] == 1
    assert table.at["gsspo", "collapsed"] == 0
    assert table.at["grpo", "clip_fraction"] == ""


def test_prompt_spread_is_reported_beside_the_mean(tmp_path, plan):
    root = write_sweep(tmp_path / "s", made_frames(ARMS, seeds=(0, 1, 2, 3)))
    frames = load_frames(root)
    levels = {"eval": 8, "eval_prompt_terse": 6, "eval_prompt_shouting": 2}
    for trial in frames.trials["trial"]:
        for split, right in levels.items():
            good = [episode([call(), answer()], f"q{i}", em=float(i < right)) for i in range(10)]
            write(root, trial, 20, split, [*good[:9], episode([malformed(), answer()], "q9", em=0.0)])
    data = load_episodes(frames)
    table = robustness.by_perturbation(data).set_index(["arm", "perturbation"])
    assert table.at[("grpo", "none"), "em"] == pytest.approx(0.8)
    assert table.at[("grpo", "shouting"), "compliance"] == pytest.approx(0.9)
    spread = robustness.prompt_spread_table(data).set_index("arm")
    assert spread.at["grpo", "spread"] == pytest.approx(0.6)
    assert spread.at["grpo", "worst"] == pytest.approx(0.2)
    rows = compare_arms(robustness.seed_prompt_spreads(data), contrasts(frames, plan), plan)
    assert {r.group for r in rows} == {"mean over prompts", "worst prompt", "spread over prompts"}
    crossed = robustness.prompt_cross_table(data, frames, "objective.preset")
    assert crossed.at["gsspo", "terse"] == pytest.approx(0.6)


def test_without_another_prompt_there_is_no_robustness(evaluated):
    with pytest.raises(DegenerateInput, match="another prompt"):
        robustness.prompt_spread_table(evaluated[1])


def test_a_design_reports_unreachable_significance():
    three = assess_design(StudyDesign(seeds=3, tests=7, margin=0.03))
    assert not three.reachable
    assert three.seeds_to_reach == 4
    assert "No outcome" in three.sentences[0]
    five = assess_design(StudyDesign(seeds=5, tests=7))
    assert five.reachable
    assert not five.suites_reachable
    assert five.smallest_adjusted == pytest.approx(7 * 2 / 252)
    assert "6 seeds an arm" in five.sentences[-1]
    eight = assess_design(StudyDesign(seeds=8, tests=7, questions=200))
    assert eight.suites_reachable
    assert 0.02 < eight.detectable < eight.detectable_suite < 0.1
