"""Statistics by unit against hand-made batches: gates by sign, spread of ratios, effective episodes."""

from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.objectives.batch import action_tokens, segment_batch
from harness.objectives.clip_settings import ClipBand
from harness.objectives.loss import policy_objective
from harness.objectives.ratio_units import RATIO_UNITS, UnitLayout
from harness.objectives.reductions import REDUCTIONS
from harness.objectives.segmentation import segment
from harness.objectives.surrogates import SURROGATES
from harness.objectives.unit_statistics import UnitSums, unit_sums
from tests.support.episodes import group
from tests.unit.objectives.objective_oracles import loop_surrogate, ragged, ragged_batches

BAND = ClipBand(0.2, 0.2)


def sums_of(deltas, advantages, surrogate="min_clip"):
    """One-token episodes with these log-ratios."""
    s = segment([UnitLayout((1,), (0,))] * len(deltas), "subsequence")
    old = torch.full((len(deltas),), -5.0, dtype=torch.float64)
    logp = (old + torch.tensor(deltas, dtype=torch.float64)).requires_grad_()
    advantage = torch.tensor(advantages, dtype=torch.float64)
    return unit_sums(
        policy_objective(logp, old, advantage, s, REDUCTIONS["N1"](s), BAND, SURROGATES[surrogate]), logp, s
    )


def test_units_are_gated_by_the_sign_of_their_advantage():
    values = sums_of([0.5, 0.5, 0.0, -0.5, 0.5, 0.1, 0.5], [1, 1, 1, 1, -1, -1, 0]).metrics()
    assert values["gated_positive"] == 2 / 4  # ratio 1.65 above the band, twice
    assert values["gated_negative"] == 0.0  # the gate of A < 0 is below the band
    assert sums_of([-0.5, 0.5], [-1, -1]).metrics()["gated_negative"] == 0.5


@pytest.mark.parametrize("surrogate", ["cispo", "none", "sapo"])
def test_surrogates_that_keep_a_clipped_units_gradient_gate_nothing(surrogate):
    values = sums_of([0.5, -0.5], [1.0, -1.0], surrogate).metrics()
    assert values["gated_positive"] == values["gated_negative"] == 0.0


def test_effective_episodes_are_those_that_move_the_policy():
    assert sums_of([0.0] * 5, [1, -1, 1, 0, 0]).metrics()["episodes_effective"] == pytest.approx(3.0)
    assert sums_of([0.0] * 2, [3, 1]).metrics()["episodes_effective"] == pytest.approx(16 / 10)
    assert sums_of([0.0], [0]).metrics()["episodes_effective"] == 0.0


def test_ratio_std_is_over_all_units():
    deltas = [0.3, -0.2, 0.0, 1.0]
    expected = statistics.pstdev(map(math.exp, deltas))
    assert sums_of(deltas, [1, 0, -1, 1]).metrics()["ratio_std"] == pytest.approx(expected, rel=1e-12)


@given(ragged_batches, st.sampled_from(sorted(RATIO_UNITS)), st.sampled_from(sorted(SURROGATES)))
def test_they_equal_a_plain_loop_and_add_up_over_micro_batches(batch, ratio_unit, name):
    s = segment(batch.layouts, ratio_unit)
    weights = REDUCTIONS["N4"](s)

    def part(rows):
        chosen = s.select(rows)
        logp = batch.logp.detach()[chosen.tokens].requires_grad_()
        output = policy_objective(
            logp, batch.old[chosen.tokens], batch.advantage[chosen.trajectories], chosen.segmentation,
            weights[chosen.segments], BAND, SURROGATES[name],
        )  # fmt: skip
        return unit_sums(output, logp, chosen.segmentation)

    whole = part(range(len(batch.layouts)))
    summed = sum((part([i]) for i in range(len(batch.layouts))), UnitSums()).metrics()
    for key, value in whole.metrics().items():
        assert summed[key] == pytest.approx(value, rel=1e-9, abs=1e-7)
    lengths = [s.tokens_per_segment.tolist()]
    (logps,), (olds,) = ragged(batch.logp, lengths), ragged(batch.old, lengths)
    gates, masses = {1.0: [], -1.0: []}, [0.0] * len(batch.layouts)
    for k, (logp, old) in enumerate(zip(logps, olds, strict=True)):
        i = int(s.trajectory_of_segment[k])
        a = float(batch.advantage[i])
        _, slopes = loop_surrogate(name, logp, old, [a] * len(logp), BAND)
        gates[math.copysign(1.0, a)].append(not any(slopes))
        masses[i] += float(weights[k]) * math.fsum(map(abs, slopes))
    for sign, key in ((1.0, "gated_positive"), (-1.0, "gated_negative")):
        assert whole.metrics()[key] == pytest.approx(sum(gates[sign]) / max(len(gates[sign]), 1))
    squares = math.fsum(m * m for m in masses)
    expected = math.fsum(masses) ** 2 / squares if squares else 0.0
    assert whole.metrics()["episodes_effective"] == pytest.approx(expected, rel=1e-8)


def test_action_tokens_are_those_from_each_turns_action_on():
    trajectories = group(0).trajectories
    acting = action_tokens(trajectories).tolist()
    expected = [p >= turn.action_start for t in trajectories for turn in t.turns for p in range(len(turn.tokens))]
    assert acting == expected
    assert 0 < sum(acting) < len(acting) == segment_batch(trajectories, "token").n_tokens
