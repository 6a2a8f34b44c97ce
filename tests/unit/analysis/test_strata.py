"""Means over suites: Wilson's interval in the simplest case, coverage in others, pairs that beat independence."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats.cluster import paired_questions
from analysis.stats.proportions import wilson
from analysis.stats.strata import stratified_difference, stratified_mean
from analysis.stats.types import DegenerateInput


@pytest.mark.parametrize(("right", "n"), [(0, 20), (7, 20), (20, 20), (1, 3)])
def test_one_suite_of_right_and_wrong_is_wilson(right: int, n: int) -> None:
    ours = stratified_mean([1] * right + [0] * (n - right), ["s"] * n)
    theirs = wilson(right, n)
    assert ours.value == theirs.value
    assert ours.interval is not None
    assert theirs.interval is not None
    assert (ours.interval.low, ours.interval.high) == pytest.approx((theirs.interval.low, theirs.interval.high))


def test_suites_weigh_the_same_whatever_their_size() -> None:
    ours = stratified_mean([1] * 90 + [0] * 10 + [0] * 10, ["big"] * 100 + ["small"] * 10)
    assert ours.value == pytest.approx(0.45)


def test_equal_samples_of_a_question_are_no_evidence() -> None:
    scores, suites = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1], ["s"] * 10
    once = stratified_mean(scores, suites).interval
    copied = stratified_mean(np.repeat(scores, 8), suites * 8, np.repeat(np.arange(10), 8)).interval
    naive = stratified_mean(np.repeat(scores, 8), suites * 8).interval
    assert once is not None
    assert copied is not None
    assert naive is not None
    assert copied.high - copied.low >= once.high - once.low > 2 * (naive.high - naive.low)


def test_the_interval_covers_the_mean_over_suites_at_its_nominal_level() -> None:
    rng = np.random.default_rng(0)
    chances = np.array([0.9, 0.5, 0.2, 0.05])
    suites = np.repeat(np.arange(4), 25)
    hits = 0
    for _ in range(600):
        interval = stratified_mean((rng.random(100) < chances[suites]).astype(float), list(suites)).interval
        assert interval is not None
        hits += interval.low <= chances.mean() <= interval.high
    assert 0.93 <= hits / 600 <= 0.99


def test_one_suite_of_differences_is_the_paired_test_but_for_the_degrees_of_freedom() -> None:
    rng = np.random.default_rng(1)
    a = (rng.random(40) < 0.7).astype(float)
    b = (rng.random(40) < 0.4).astype(float)
    ours, test = stratified_difference(a, b, ["s"] * 40)
    theirs, other = paired_questions(a, b)
    assert ours.value == theirs.value
    assert test.statistic == pytest.approx(other.statistic * np.sqrt(39 / 40))
    assert test.claim == "checkpoint"


def test_what_cannot_be_compared_is_refused_and_what_is_equal_has_no_evidence() -> None:
    with pytest.raises(DegenerateInput, match="not the same set"):
        stratified_difference([1, 0], [1, 0, 1], ["s", "s"])
    with pytest.raises(DegenerateInput, match=r"\[0, 1\]"):
        stratified_mean([0.5, 1.5], ["s", "s"])
    estimate, test = stratified_difference([1, 0, 1], [1, 0, 1], ["s", "s", "t"])
    assert (estimate.value, test.p) == (0.0, 1.0)


def tango(discordant: tuple[int, int], n: int, z: float) -> tuple[float, float]:
    """Tango's interval for paired shares by brute force: the differences that his score test does not reject."""
    b, c = discordant
    kept = []
    for delta in np.linspace(-1, 1, 200_001)[1:-1]:
        # the shares' maximum likelihood under p12 − p21 = delta: the larger root of his quadratic
        e, f, g = 2 * n, -b - c + (2 * n - b + c) * delta, -c * delta * (1 - delta)
        p21 = (np.sqrt(max(f * f - 4 * e * g, 0.0)) - f) / (2 * e)
        variance = n * (2 * p21 + delta * (1 - delta))
        if variance > 0 and abs(b - c - n * delta) <= z * np.sqrt(variance):
            kept.append(delta)
    return min(kept), max(kept)


@pytest.mark.parametrize(("a", "b"), [(1, 1), (0, 0), (1, 0), (0, 1)])
def test_equal_differences_leave_open_what_tangos_interval_does(a: int, b: int) -> None:
    n = 12
    estimate, _ = stratified_difference([a] * n, [b] * n, ["s"] * n)
    low, high = tango((n * a * (1 - b), n * b * (1 - a)), n, 1.959964)
    assert estimate.interval is not None
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx((low, high), abs=2e-5)
    assert estimate.interval.low <= estimate.value <= estimate.interval.high


def test_more_questions_leave_less_open_and_uneven_suites_count_for_fewer() -> None:
    few, many, uneven = (
        stratified_difference([1] * n, [1] * n, suites)[0].interval
        for n, suites in ((10, ["s"] * 10), (40, ["s"] * 20 + ["t"] * 20), (40, ["s"] * 38 + ["t"] * 2))
    )
    assert few is not None
    assert many is not None
    assert uneven is not None
    assert 0 < many.high < uneven.high
    assert many.high < few.high
